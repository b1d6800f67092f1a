"""Settings that PVT, PVTv2, CSWin and NAT have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    SlideAttention,
    SlideAttentionConfig,
)

# Far above any training image size. A larger number comes from a damaged file.
MAX_IMAGE_SIDE = 8192

Slide = tuple[int | tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class StagedConfig:
    """The settings of a network whose blocks have the host's own attention or slide attention.

    Args:
        image_size: height and width of the image, in pixels.
        num_classes: number of outputs of the classifier; 0 for a backbone.
        in_channels: channels of the image.
        depths: number of blocks in each stage.
        num_heads: number of heads in each stage.
        slide: for each stage, the kernel size of slide attention, or 0 for the host's own
            attention; a tuple with one number per block if blocks differ.
        qkv_bias: whether the projections of q, k and v have a bias.

    Raises:
        InputError: if the settings are inconsistent.
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
                f"Depths {self.depths}, heads {self.num_heads} and slide {self.slide} must have "
                f"one number per stage."
            )
        if min(self.in_channels, *self.depths, *self.num_heads) < 1 or self.num_classes < 0:
            raise InputError("Channels, depths and heads must be at least 1: check the options.")
        if max(self.image_size) > MAX_IMAGE_SIDE or min(self.image_size) < 1:
            height, width = self.image_size
            raise InputError(f"Image size {height}x{width} exceeds the supported size.")
        for stage in range(stages):
            self._check_stage(stage)

    def _check_stage(self, stage: int) -> None:
        height, width = self.resolution(stage)
        if min(height, width) < 1:
            raise InputError(
                f"An image of {self.image_size[0]}x{self.image_size[1]} leaves no feature map for "
                f"stage {stage}: give a larger one."
            )
        if self.dim(stage) % self.num_heads[stage]:
            raise InputError(
                f"Stage {stage} has {self.dim(stage)} channels, which do not divide into "
                f"{self.num_heads[stage]} heads."
            )
        kernels = self.slide[stage]
        if isinstance(kernels, tuple) and len(kernels) != self.depths[stage]:
            raise InputError(
                f"slide has {len(kernels)} numbers for stage {stage}: give one for each of its "
                f"{self.depths[stage]} blocks."
            )
        for block in range(self.depths[stage]):
            if self.slide_kernel(stage, block):
                self.slide_attention(stage, block)  # raises InputError for inconsistent settings

    def dim(self, stage: int) -> int:
        """Number of channels of a stage and of its feature map."""
        raise NotImplementedError

    def side(self, pixels: int, stage: int) -> int:
        """Side of a stage's feature map, in positions, for an image side of ``pixels``."""
        raise NotImplementedError

    def resolution(self, stage: int) -> tuple[int, int]:
        """Height and width of a stage's feature map, in positions."""
        height, width = self.image_size
        return self.side(height, stage), self.side(width, stage)

    def slide_kernel(self, stage: int, block: int) -> int:
        """Kernel size of a block's slide attention; 0 for the host's own attention."""
        kernels = self.slide[stage]
        return kernels if isinstance(kernels, int) else kernels[block]

    def slide_attention(self, stage: int, block: int) -> SlideAttentionConfig:
        """Return the settings of a block's slide attention."""
        return SlideAttentionConfig(
            self.dim(stage),
            self.num_heads[stage],
            self.slide_kernel(stage, block),
            qkv_bias=self.qkv_bias,
        )

    def attention(
        self, stage: int, block: int, folded: bool, host: Callable[[], nn.Module]
    ) -> nn.Module:
        """Build the attention of a block, on tokens."""
        if not self.slide_kernel(stage, block):
            return host()
        return self.slide_module(stage, block, folded)

    def slide_module(self, stage: int, block: int, folded: bool) -> nn.Module:
        """Build the slide attention of a block, on tokens; see ``attention``."""
        form = FoldedSlideAttention if folded else SlideAttention
        return form(self.slide_attention(stage, block), "tokens", self.resolution(stage))
