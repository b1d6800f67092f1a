"""Slide-Swin: a Swin transformer whose first stages use slide attention.

State-dict names and layouts are those of the published models.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.models.host_network import HostNetwork
from slide_deploy.models.parts import Level, Mlp, as_tokens, check_scale, hidden_width, run_levels
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    PaddingMode,
    SlideAttention,
    SlideAttentionConfig,
    check_padding_mode,
)
from slide_deploy.models.staged import MAX_IMAGE_SIDE
from slide_deploy.models.window_attention import (
    WindowAttention,
    merge_windows,
    partition_windows,
    roll_maps,
    shifted_window_mask,
)

LAYER_NORM_EPS = 1e-5
MAX_MASK_ELEMENTS = 2**28


@dataclass(frozen=True)
class SlideSwinConfig:
    """The settings of a Slide-Swin.

    Args:
        image_size: height and width of the image, in pixels.
        num_classes: number of outputs of the classifier.
        embed_dim: channels of the first stage. They double from stage to stage.
        depths: number of blocks in each stage.
        num_heads: number of heads in each stage.
        window_size: largest side of an attention window, in positions.
        num_slide_stages: number of first stages with slide attention.
        kernel_size: side of the neighbourhood of slide attention.
        patch_size: side of a patch, in pixels.
        in_channels: channels of the image.
        mlp_ratio: ratio of the MLPs' hidden width to their input width.
        qkv_bias: whether the projections of q, k and v have a bias.
        ape: whether an absolute position embedding is added to the patches.
        patch_norm: whether the patches are normalised.
        dim_reduction, rpb, share_dwc_kernel, share_qkv: see ``SlideAttentionConfig``.
        feature_norms: stages whose feature map a backbone normalises, as in detectors.
        kept_windows: sides of the windows of each window stage, kept from training at another image
            size; () for those that follow from ``window_size``.
        qk_scale: factor on the logits of both attentions in every stage; None and 0 mean the
            default of each, ``head_dim ** -0.5``.
        padding_mode: padding mode of the slide attentions, one of ``PADDING_MODES``.

    Raises:
        InputError: if the settings are inconsistent.
    """

    image_size: tuple[int, int] = (224, 224)
    num_classes: int = 1000
    embed_dim: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 56
    num_slide_stages: int = 2
    kernel_size: int = 3
    patch_size: int = 4
    in_channels: int = 3
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    ape: bool = False
    patch_norm: bool = True
    dim_reduction: int = 1
    rpb: bool = True
    share_dwc_kernel: bool = True
    share_qkv: bool = False
    feature_norms: tuple[int, ...] = ()
    kept_windows: tuple[int, ...] = ()
    qk_scale: float | None = None
    padding_mode: PaddingMode = "zeros"

    def __post_init__(self) -> None:
        check_scale(self.qk_scale)
        check_padding_mode(self.padding_mode)
        if len(self.depths) != len(self.num_heads) or not self.depths:
            raise InputError(
                f"Depths {self.depths} and heads {self.num_heads} must have one number per stage."
            )
        counts = (self.embed_dim, self.in_channels, self.patch_size, self.dim_reduction)
        windows = (self.window_size, *self.kept_windows)
        if min(*counts, *self.depths, *self.num_heads, *windows) < 1:
            raise InputError(
                "Widths, depths, heads, patches and windows must be at least 1: check the options."
            )
        window_stages = max(0, len(self.depths) - self.num_slide_stages)
        if self.kept_windows and len(self.kept_windows) != window_stages:
            raise InputError(
                f"kept_windows {self.kept_windows} must have one number for each of the "
                f"{window_stages} window stages."
            )
        step = self.patch_size * 2 ** (len(self.depths) - 1)
        if any(size <= 0 or size % step for size in self.image_size):
            height, width = self.image_size
            raise InputError(
                f"Image size {height}x{width} is not a multiple of {step}: "
                f"patches of {self.patch_size} are merged {len(self.depths) - 1} times by two."
            )
        mask = max(
            (
                self.resolution(stage)[0] * self.resolution(stage)[1] * self.window(stage) ** 2
                for stage in range(self.num_slide_stages, len(self.depths))
            ),
            default=0,
        )
        if max(self.image_size) > MAX_IMAGE_SIDE or mask > MAX_MASK_ELEMENTS:
            raise InputError(
                f"Image size {self.image_size[0]}x{self.image_size[1]} with windows of "
                f"{self.window_size} exceeds the supported size."
            )
        for stage in range(len(self.depths)):
            if stage < self.num_slide_stages:
                self.slide_attention(stage)  # raises InputError for inconsistent settings
                continue
            if self.dim(stage) % self.num_heads[stage]:
                raise InputError(
                    f"Stage {stage} has {self.dim(stage)} channels, which do not divide into "
                    f"{self.num_heads[stage]} heads."
                )
            window, resolution = self.window(stage), self.resolution(stage)
            if any(side % window for side in resolution):
                raise InputError(
                    f"Stage {stage} has a feature map of {resolution[0]}x{resolution[1]}, which "
                    f"windows of {window} do not tile: give another image size."
                )

    def dim(self, stage: int) -> int:
        """Number of channels of a stage."""
        return self.embed_dim * 2**stage

    def resolution(self, stage: int) -> tuple[int, int]:
        """Height and width of a stage's feature map, in positions."""
        step = self.patch_size * 2**stage
        return self.image_size[0] // step, self.image_size[1] // step

    def window(self, stage: int) -> int:
        """Side of a stage's windows: kept, or ``window_size`` limited by the feature map."""
        if self.kept_windows:
            return self.kept_windows[stage - self.num_slide_stages]
        return min(self.window_size, *self.resolution(stage))

    def shift(self, stage: int, block: int) -> int:
        """Number of positions by which a block shifts its windows."""
        fits = min(self.resolution(stage)) <= self.window(stage)
        return 0 if fits or block % 2 == 0 else self.window(stage) // 2

    def slide_attention(self, stage: int) -> SlideAttentionConfig:
        """Return the settings of a stage's slide attention."""
        return SlideAttentionConfig(
            dim=self.dim(stage),
            num_heads=self.num_heads[stage],
            kernel_size=self.kernel_size,
            qkv_bias=self.qkv_bias,
            dim_reduction=self.dim_reduction,
            rpb=self.rpb,
            share_dwc_kernel=self.share_dwc_kernel,
            share_qkv=self.share_qkv,
            qk_scale=self.qk_scale,
            padding_mode=self.padding_mode,
        )


class SwinPatchEmbed(nn.Module):
    """Patch embedding: a convolution and an optional normalisation."""

    def __init__(self, config: SlideSwinConfig) -> None:
        super().__init__()
        size = config.patch_size
        self.proj = nn.Conv2d(config.in_channels, config.embed_dim, size, stride=size)
        self.norm = (
            nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS) if config.patch_norm else None
        )

    def forward(self, image: Tensor) -> Tensor:
        """Embed patches, row by row: (batch, channels, H, W) to (batch, tokens, embed_dim)."""
        tokens = as_tokens(self.proj(image))
        return tokens if self.norm is None else self.norm(tokens)


class PatchMerging(nn.Module):
    """Merges the four positions of each 2x2 cell: (batch, H*W, C) to (batch, H*W/4, 2C).

    Their channels are concatenated in the order (even row, even column), (odd, even), (even, odd),
    (odd, odd).
    """

    def __init__(self, dim: int, resolution: tuple[int, int]) -> None:
        super().__init__()
        self.resolution = resolution
        self.norm = nn.LayerNorm(4 * dim, eps=LAYER_NORM_EPS)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Merge: (batch, H*W, C) to (batch, H*W/4, 2C)."""
        height, width = self.resolution
        nhwc = tokens.reshape(-1, height, width, tokens.shape[-1])
        cells = [nhwc[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(cells, dim=-1).flatten(1, 2)))


class SwinBlock(nn.Module):
    """x + attn(norm1(x)), then x + mlp(norm2(x)), on tokens (batch, H*W, C)."""

    def __init__(self, config: SlideSwinConfig, stage: int, block: int, folded: bool) -> None:
        super().__init__()
        dim = config.dim(stage)
        self.resolution = config.resolution(stage)
        self.window = 0 if stage < config.num_slide_stages else config.window(stage)
        self.shift = 0
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn: nn.Module
        self.attn_mask: Tensor | None
        self.register_buffer("attn_mask", None, persistent=False)
        if self.window:
            self.shift = config.shift(stage, block)
            self.attn = WindowAttention(
                dim, config.num_heads[stage], self.window, config.qkv_bias, config.qk_scale
            )
            if self.shift:
                # Derived from the settings, so it is built here even if the checkpoint stores it.
                self.attn_mask = torch.from_numpy(shifted_window_mask(self.resolution, self.window))
        else:
            form = FoldedSlideAttention if folded else SlideAttention
            self.attn = form(config.slide_attention(stage), "tokens", self.resolution)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, hidden_width(dim, config.mlp_ratio))

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the block on tokens (batch, H*W, C). The shape is kept."""
        normed = self.norm1(tokens)
        attended = self._window_attention(normed) if self.window else self.attn(normed)
        tokens = tokens + attended
        return tokens + self.mlp(self.norm2(tokens))

    def _window_attention(self, tokens: Tensor) -> Tensor:
        height, width = self.resolution
        if (self.window, self.window) == self.resolution:  # a single window
            return self.attn(tokens)
        nhwc = tokens.reshape(-1, height, width, tokens.shape[-1])
        if self.shift:
            nhwc = roll_maps(nhwc, self.shift)
        windows = self.attn(partition_windows(nhwc, self.window), self.attn_mask)
        nhwc = merge_windows(windows, self.window, self.resolution)
        if self.shift:
            nhwc = roll_maps(nhwc, -self.shift)
        return nhwc.flatten(1, 2)


class SlideSwin(HostNetwork):
    """The classifier or the backbone; see ``HostNetwork``."""

    def __init__(
        self, config: SlideSwinConfig, folded: bool = False, features: bool = False
    ) -> None:
        super().__init__(config, features)
        self.patch_embed = SwinPatchEmbed(config)
        height, width = config.resolution(0)
        self.absolute_pos_embed = (
            nn.Parameter(torch.zeros(1, height * width, config.embed_dim)) if config.ape else None
        )
        last = len(config.depths) - 1
        self.layers = nn.ModuleList(
            Level(
                [SwinBlock(config, stage, block, folded) for block in range(depth)],
                PatchMerging(config.dim(stage), config.resolution(stage)) if stage < last else None,
            )
            for stage, depth in enumerate(config.depths)
        )
        self.add_ends(LAYER_NORM_EPS)

    def stages(self, image: Tensor) -> list[Tensor]:
        """See ``HostNetwork``."""
        tokens = self.patch_embed(image)
        if self.absolute_pos_embed is not None:
            tokens = tokens + self.absolute_pos_embed
        return run_levels(self.layers, tokens)
