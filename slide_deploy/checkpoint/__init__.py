"""A file from disk to a model: read it safely, find its architecture, load it strictly."""

from slide_deploy.checkpoint.load import Checkpoint, Overrides, load_checkpoint

__all__ = ["Checkpoint", "Overrides", "load_checkpoint"]
