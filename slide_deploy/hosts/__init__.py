"""The families of networks that carry slide attention, and a checkpoint of one to a model.

``registry`` names the families. Nothing outside of a family's own file or folder knows it by name.
"""

from slide_deploy.checkpoint.overrides import Overrides
from slide_deploy.hosts.load import Checkpoint, load_checkpoint

__all__ = ["Checkpoint", "Overrides", "load_checkpoint"]
