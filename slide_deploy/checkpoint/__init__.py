"""A file from disk to a model: read it safely, find its architecture, load it strictly."""

from slide_deploy.checkpoint.load import Checkpoint, load_checkpoint
from slide_deploy.checkpoint.overrides import Overrides

__all__ = ["Checkpoint", "Overrides", "load_checkpoint"]
