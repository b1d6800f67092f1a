"""What the networks of all host families have in common: how they are asked, what they answer."""

from collections.abc import Sequence

from torch import nn

LOGITS = ("logits",)
"""What the answer of a classifier is called."""


class HostNetwork(nn.Module):
    """A whole network that carries slide attention, as a classifier or as a backbone.

    It takes an image, (batch, channels, H, W). A classifier answers logits, (batch, classes); a
    backbone a tuple of maps (batch, C, h, w), one of every stage.
    """

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the answers are called, in their order: ``LOGITS``, or ``feature_names``."""
        raise NotImplementedError

    @property
    def is_classifier(self) -> bool:
        """Whether it answers logits."""
        return self.output_names == LOGITS


def feature_names(stages: int) -> tuple[str, ...]:
    """What the maps of so many stages are called."""
    return tuple(f"stage{stage}" for stage in range(stages))


def are_features(names: Sequence[str]) -> bool:
    """Whether a file's outputs of these names are maps of stages."""
    return bool(names) and tuple(names) == feature_names(len(names))
