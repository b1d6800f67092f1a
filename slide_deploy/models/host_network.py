"""The common interface of the networks of all host families: their inputs and outputs."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from slide_deploy.models.parts import as_nchw

LOGITS = ("logits",)
"""Names of a classifier's outputs."""


class HostNetwork(nn.Module):
    """A whole network with slide attention, as a classifier or as a backbone.

    It takes an image, (batch, channels, H, W). A classifier outputs logits, (batch, classes). A
    backbone outputs a tuple of feature maps, (batch, C, h, w), one per stage. A family implements
    ``stages``. Its classifier has a ``norm`` and a ``head``, and is the same class as its backbone.
    The constructor of a family takes ``folded`` before ``features``: whether slide attentions are
    ``FoldedSlideAttention`` instead of the branched form.

    Args:
        config: its settings, see ``slide_deploy.hosts.host.Settings``.
        features: build the backbone, without the layers that only the classifier uses.
    """

    def __init__(self, config: Any, features: bool = False) -> None:
        super().__init__()
        self.config = config
        self.features = features

    def add_ends(self, eps: float) -> None:
        """Add a classifier's last layers, or the normalisations of a backbone's feature maps."""
        config = self.config
        if self.features:
            for stage in config.feature_norms:
                norm = nn.LayerNorm(config.dim(stage), eps=eps)
                self.add_module(self.feature_norm(stage), norm)
            return
        width = config.dim(len(config.depths) - 1)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.head = nn.Linear(width, config.num_classes)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, in order: ``LOGITS``, or ``feature_names``."""
        return feature_names(len(self.config.depths)) if self.features else LOGITS

    @property
    def is_classifier(self) -> bool:
        """Whether the network outputs logits."""
        return not self.features

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map an image (batch, channels, H, W) to logits or to the stages' feature maps."""
        stages = self.stages(image)
        if not self.features:
            return self.logits(stages[-1])
        return tuple(self.feature_map(stage, tokens) for stage, tokens in enumerate(stages))

    def stages(self, image: Tensor) -> list[Tensor]:
        """Compute the tokens after each stage's blocks, each (batch, positions, channels)."""
        raise NotImplementedError

    def logits(self, tokens: Tensor) -> Tensor:
        """Classify the tokens of the last stage: (batch, positions, C) to (batch, classes)."""
        norm, head = self.get_submodule("norm"), self.get_submodule("head")
        return head(norm(tokens).mean(dim=1))

    def refuse_classifying(self) -> None:
        """Refuse an image size at which the original code extracts features but does not classify.

        Raises:
            InputError: if the settings have such an image size.
        """

    def feature_map(self, stage: int, tokens: Tensor) -> Tensor:
        """Convert tokens to the feature map of a stage: (batch, h * w, C) to (batch, C, h, w)."""
        norm = self._modules.get(self.feature_norm(stage))
        if norm is not None:
            tokens = norm(tokens)
        return as_nchw(tokens, self.config.resolution(stage))

    def feature_norm(self, stage: int) -> str:
        """Return the name of the layer that normalises a stage's feature map in detectors.

        The next stage gets the tokens without this normalisation.
        """
        return f"norm{stage}"

    def backbone(self) -> Self:
        """Return the network without its classifier. Layers are shared, not copied."""
        if self.features:
            return self
        with torch.device("meta"):  # all its layers and parameters are replaced
            backbone = type(self)(self.config, features=True)
        for name in (*backbone._modules, *backbone._parameters):
            setattr(backbone, name, getattr(self, name))
        return backbone.train(self.training)


def feature_names(stages: int) -> tuple[str, ...]:
    """Return the names of the feature maps of a number of stages."""
    return tuple(f"stage{stage}" for stage in range(stages))


def are_features(names: Sequence[str]) -> bool:
    """Whether outputs with these names are feature maps of stages."""
    return bool(names) and tuple(names) == feature_names(len(names))
