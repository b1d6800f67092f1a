"""What the networks of all host families have in common: how they are asked, what they answer."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from slide_deploy.models.parts import as_map

LOGITS = ("logits",)
"""What the output of a classifier is called."""


class HostNetwork(nn.Module):
    """A whole network that carries slide attention, as a classifier or as a backbone.

    It takes an image, (batch, channels, H, W). A classifier answers logits, (batch, classes); a
    backbone a tuple of feature maps (batch, C, h, w), one of every stage. A family writes
    ``stages``; its classifier has a ``norm`` and a ``head``, and is the same class as its backbone.

    Args:
        config: its settings, see ``slide_deploy.hosts.host.Settings``.
        features: build the backbone, without what only the classifier uses.
    """

    def __init__(self, config: Any, features: bool = False) -> None:
        super().__init__()
        self.config = config
        self.features = features

    def add_ends(self, eps: float) -> None:
        """Add what a classifier ends with, or the normalisations of the maps of a backbone.

        Args:
            eps: of the normalisations.
        """
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
        """What the outputs are called, in their order: ``LOGITS``, or ``feature_names``."""
        return feature_names(len(self.config.depths)) if self.features else LOGITS

    @property
    def is_classifier(self) -> bool:
        """Whether it answers logits."""
        return not self.features

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Classify or extract: (batch, channels, H, W) to logits or to the maps of the stages."""
        stages = self.stages(image)
        if not self.features:
            return self.logits(stages[-1])
        return tuple(self.feature_map(stage, tokens) for stage, tokens in enumerate(stages))

    def stages(self, image: Tensor) -> list[Tensor]:
        """Tokens as the blocks of each stage leave them, each (batch, positions, channels)."""
        raise NotImplementedError

    def logits(self, tokens: Tensor) -> Tensor:
        """Classify the tokens of the last stage: (batch, positions, C) to (batch, classes)."""
        norm, head = self.get_submodule("norm"), self.get_submodule("head")
        return head(norm(tokens).mean(dim=1))

    def refuse_classifying(self) -> None:
        """Refuse an image size at which the host extracts maps and does not classify.

        Raises:
            InputError: if it is such a size.
        """

    def feature_map(self, stage: int, tokens: Tensor) -> Tensor:
        """The feature map of a stage: (batch, h * w, C) to (batch, C, h, w)."""
        norm = self._modules.get(self.feature_norm(stage))
        if norm is not None:
            tokens = norm(tokens)
        return as_map(tokens, self.config.resolution(stage))

    def feature_norm(self, stage: int) -> str:
        """What a layer is called that normalises the map of a stage, where detectors have one.

        The next stage gets the tokens as they were.
        """
        return f"norm{stage}"

    def backbone(self) -> Self:
        """The network without its classifier; layers are shared, not copied."""
        if self.features:
            return self
        with torch.device("meta"):  # every layer and parameter of it is replaced
            backbone = type(self)(self.config, features=True)
        for name in (*backbone._modules, *backbone._parameters):
            setattr(backbone, name, getattr(self, name))
        return backbone.train(self.training)


def feature_names(stages: int) -> tuple[str, ...]:
    """What the maps of so many stages are called."""
    return tuple(f"stage{stage}" for stage in range(stages))


def are_features(names: Sequence[str]) -> bool:
    """Whether a file's outputs of these names are maps of stages."""
    return bool(names) and tuple(names) == feature_names(len(names))
