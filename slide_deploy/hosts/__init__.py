"""The families of networks that contain slide attention, and how their checkpoints are loaded.

``registry`` lists the families. No other module refers to a family by name.
"""

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.hosts.load import Checkpoint, load_checkpoint

__all__ = ["Checkpoint", "Overrides", "load_checkpoint"]
