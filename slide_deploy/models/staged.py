"""What the settings of PVT, PVTv2, CSWin and NAT have in common: stages, some of which slide."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    SlideAttention,
    SlideAttentionConfig,
)

# Far beyond what anybody trains on; a larger number comes from a damaged file.
MAX_IMAGE_SIDE = 8192

Slide = tuple[int | tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class StagedConfig:
    """Settings of a network of stages, whose blocks attend as the host does or slide.

    Args:
        image_size: height and width of the image, in pixels.
        num_classes: outputs of the classifier; 0 of a backbone without one.
        in_channels: channels of the image.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        slide: for each stage the side of the neighbourhood of slide attention, or 0 for the host's
            own attention; a tuple with a number for each block where the blocks differ.
        qkv_bias: whether the projections of q, k and v carry a bias.

    Raises:
        InputError: if the numbers do not fit together.
    """

    image_size: tuple[int, int] = (224, 224)
    num_classes: int = 1000
    in_channels: int = 3
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    slide: Slide
    qkv_bias: bool = True

    def __post_init__(self) -> None:
        stages = len(self.depths)
        if not stages or len(self.num_heads) != stages or len(self.slide) != stages:
            raise InputError(
                f"Depths {self.depths}, heads {self.num_heads} and slide {self.slide} do not name "
                f"the same stages."
            )
        if min(self.in_channels, *self.depths, *self.num_heads) < 1 or self.num_classes < 0:
            raise InputError("Channels, depths and heads must be at least 1: check the options.")
        if max(self.image_size) > MAX_IMAGE_SIDE or min(self.image_size) < 1:
            height, width = self.image_size
            raise InputError(f"Image size {height}x{width} is beyond what this project computes.")
        for stage in range(stages):
            self._check_stage(stage)

    def _check_stage(self, stage: int) -> None:
        height, width = self.resolution(stage)
        if min(height, width) < 1:
            raise InputError(
                f"An image of {self.image_size[0]}x{self.image_size[1]} leaves no map for stage "
                f"{stage}: give a larger one."
            )
        if self.dim(stage) % self.num_heads[stage]:
            raise InputError(
                f"Stage {stage} has {self.dim(stage)} channels, which do not divide into "
                f"{self.num_heads[stage]} heads."
            )
        kernels = self.slide[stage]
        if isinstance(kernels, tuple) and len(kernels) != self.depths[stage]:
            raise InputError(
                f"Stage {stage} has {self.depths[stage]} blocks, and slide gives {len(kernels)}."
            )
        for block in range(self.depths[stage]):
            if self.slide_kernel(stage, block):
                self.slide_attention(stage, block)  # its settings check themselves

    def dim(self, stage: int) -> int:
        """Channels of a stage and of its feature map."""
        raise NotImplementedError

    def side(self, pixels: int, stage: int) -> int:
        """How many positions the map of a stage has along a side of the image of so many pixels."""
        raise NotImplementedError

    def resolution(self, stage: int) -> tuple[int, int]:
        """Height and width of the map of a stage, in positions."""
        height, width = self.image_size
        return self.side(height, stage), self.side(width, stage)

    def slide_kernel(self, stage: int, block: int) -> int:
        """Side of the neighbourhood of a block; 0 where it attends as the host does."""
        kernels = self.slide[stage]
        return kernels if isinstance(kernels, int) else kernels[block]

    def slide_attention(self, stage: int, block: int) -> SlideAttentionConfig:
        """The settings of the slide attention of a block."""
        return SlideAttentionConfig(
            self.dim(stage),
            self.num_heads[stage],
            self.slide_kernel(stage, block),
            qkv_bias=self.qkv_bias,
        )

    def attention(
        self, stage: int, block: int, folded: bool, host: Callable[[], nn.Module]
    ) -> nn.Module:
        """The attention of a block, on tokens.

        Args:
            stage: of the block.
            block: its place in the stage.
            folded: build ``FoldedSlideAttention`` in place of the branched form.
            host: builds the host's own attention.
        """
        if not self.slide_kernel(stage, block):
            return host()
        return self.slide_module(stage, block, folded)

    def slide_module(self, stage: int, block: int, folded: bool) -> nn.Module:
        """The slide attention of a block that slides, on tokens; see ``attention``."""
        form = FoldedSlideAttention if folded else SlideAttention
        return form(self.slide_attention(stage, block), "tokens", self.resolution(stage))
