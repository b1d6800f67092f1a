"""Slide attention, branched for training and folded for deployment.

Per head with d features, feature maps k and v and query q, for K = k*k offsets p and taps j:

    key[d, p]   = sum_j (W_shift + W_def)[d, p, j] * k[d, at offset j] + (b_shift + b_def)[d, p]
    value[d, p] = the same, from v
    logit[p]    = sum_d scale * q[d] * (key[d, p] + rpb[h, p])
    out[d]      = sum_p softmax(logit)[p] * value[d, p]

Neighbours outside the feature map are zeros, or as the padding mode of the convolutions defines.
They are attended to, because there is no mask. (Slide Attention, CVPR 2023, arXiv 2304.04237.)
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.folding.formulas import shift_kernel
from slide_deploy.models.parts import check_scale, query_scale

Layout = Literal["nchw", "tokens"]
# The padding modes of ``torch.nn.Conv2d``.
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
PADDING_MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)


def check_padding_mode(mode: str) -> None:
    """Check a padding mode.

    Raises:
        InputError: if it is not one of ``PADDING_MODES``.
    """
    if mode not in PADDING_MODES:
        raise InputError(f"padding_mode is {mode!r}: give one of {', '.join(PADDING_MODES)}.")


@dataclass(frozen=True)
class SlideAttentionConfig:
    """The settings of one slide attention.

    Args:
        dim: channels of the input and of the output.
        num_heads: number of heads. It divides ``dim // dim_reduction``.
        kernel_size: side of the neighbourhood, odd.
        qkv_bias: whether the projection of q, k and v has a bias.
        dim_reduction: q, k and v have ``dim // dim_reduction`` channels. The default scale is not
            affected.
        rpb: whether a relative position bias is added to the keys.
        share_dwc_kernel: whether k and v share the deformed branch.
        share_qkv: whether one projection serves as q, k and v.
        qk_scale: factor on the logits; None and 0 mean ``(dim // num_heads) ** -0.5``.
        padding_mode: padding mode of the convolutions, one of ``PADDING_MODES``.

    Raises:
        InputError: if the settings are inconsistent.
    """

    dim: int
    num_heads: int
    kernel_size: int = 3
    qkv_bias: bool = True
    dim_reduction: int = 1
    rpb: bool = True
    share_dwc_kernel: bool = True
    share_qkv: bool = False
    qk_scale: float | None = None
    padding_mode: PaddingMode = "zeros"

    def __post_init__(self) -> None:
        check_scale(self.qk_scale)
        check_padding_mode(self.padding_mode)
        if self.kernel_size % 2 == 0 or self.kernel_size < 1:
            raise InputError(f"kernel_size is {self.kernel_size}: give a positive odd number.")
        if self.dim % self.dim_reduction or self.inner_dim % self.num_heads:
            raise InputError(
                f"{self.dim} channels, reduced {self.dim_reduction} times, do not divide into "
                f"{self.num_heads} heads: check dim, dim_reduction and num_heads."
            )

    @property
    def inner_dim(self) -> int:
        """Number of channels of q, of k and of v."""
        return self.dim // self.dim_reduction

    @property
    def head_dim(self) -> int:
        """Features per head."""
        return self.inner_dim // self.num_heads

    @property
    def offsets(self) -> int:
        """Number of neighbours of a position, itself included."""
        return self.kernel_size**2

    @property
    def scale(self) -> float:
        """Factor on the logits. The default depends on ``dim``, not on ``dim_reduction``."""
        return query_scale(self.dim // self.num_heads, self.qk_scale)

    def neighbours_conv(self, channels: int) -> nn.Conv2d:
        """Build a depthwise convolution that outputs every offset of each channel."""
        k = self.kernel_size
        # A 1x1 kernel reads nothing outside the feature map.
        mode = self.padding_mode if k > 1 else "zeros"
        outputs = channels * self.offsets
        return nn.Conv2d(channels, outputs, k, padding=k // 2, groups=channels, padding_mode=mode)


class SlideAttentionBase(nn.Module):
    """Projections and layouts, which folding does not change."""

    def __init__(
        self,
        config: SlideAttentionConfig,
        layout: Layout = "nchw",
        resolution: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.layout = layout
        self.resolution = resolution
        parts = 1 if config.share_qkv else 3
        self.qkv = nn.Linear(config.dim, parts * config.inner_dim, bias=config.qkv_bias)
        self.proj = nn.Linear(config.inner_dim, config.dim)

    def forward(
        self, x: Tensor, size: tuple[int, int] | None = None
    ) -> Tensor | tuple[Tensor, None, None]:
        """Compute the attention.

        Args:
            x: (batch, dim, height, width) in the layout "nchw", (batch, height * width, dim) in
                the layout "tokens".
            size: height and width of the tokens' feature map; default: ``resolution``.

        Returns:
            A tensor of the shape of ``x``. In the layout "nchw" it is the first item of a tuple of
            three, which other projects' models expect from this module.

        Raises:
            InputError: if the height and width of tokens are unknown.
        """
        if self.layout == "tokens":
            return self.attend(x, *known_size(size or self.resolution))
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        out = self.attend(tokens, height, width)
        return out.transpose(1, 2).reshape(x.shape), None, None

    def attend(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Attend on tokens (batch, height * width, dim). The shape is kept."""
        raise NotImplementedError

    def _project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values, each (batch, head, d, H*W)."""
        config = self.config
        batch, positions, _ = tokens.shape
        parts = 1 if config.share_qkv else 3
        # (batch, H*W, head, q|k|v, d) -> (q|k|v, batch, head, d, H*W)
        heads = self.qkv(tokens).reshape(batch, positions, config.num_heads, parts, config.head_dim)
        split = heads.permute(3, 0, 2, 4, 1)
        return (split[0], split[0], split[0]) if parts == 1 else (split[0], split[1], split[2])


def known_size(size: tuple[int, int] | None) -> tuple[int, int]:
    """Return a height and width.

    Raises:
        InputError: if it is None.
    """
    if size is None:
        raise InputError("Tokens have no height and width: give slide attention a resolution.")
    return size


class SlideAttention(SlideAttentionBase):
    """The branched form: a fixed shift branch beside a learned deformed branch.

    State-dict names are those of the published models: ``dep_conv`` is the shift branch,
    ``dep_conv1`` the deformed branch of k and v, or of k alone, and ``dep_conv2`` the separate
    deformed branch of v, if any. All heads share one kernel.
    """

    def __init__(
        self,
        config: SlideAttentionConfig,
        layout: Layout = "nchw",
        resolution: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(config, layout, resolution)
        self.dep_conv = config.neighbours_conv(config.head_dim)
        self.dep_conv1 = config.neighbours_conv(config.head_dim)
        self.dep_conv2 = (
            None if config.share_dwc_kernel else config.neighbours_conv(config.head_dim)
        )
        with torch.no_grad():
            self.dep_conv.weight.copy_(
                shift_kernel(config.head_dim, config.kernel_size).to(self.dep_conv.weight)
            )
        self.relative_position_bias_table = (
            nn.Parameter(torch.zeros(1, config.num_heads, 1, config.offsets, 1, 1))
            if config.rpb
            else None
        )

    def neighbours(self, nchw: Tensor, deformed: nn.Conv2d) -> Tensor:
        """Sum both branches: (batch * head, d, H, W) to (batch * head, d * offset, H, W)."""
        return self.dep_conv(nchw) + deformed(nchw)

    def attend(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """See ``SlideAttentionBase``."""
        config = self.config
        batch, positions, _ = tokens.shape
        q, k, v = self._project(tokens)
        maps = (batch * config.num_heads, config.head_dim, height, width)
        split = (batch, config.num_heads, config.head_dim, config.offsets, positions)
        deformed_v = self.dep_conv2 if self.dep_conv2 is not None else self.dep_conv1
        # (batch, head, d, offset, H*W)
        keys = self.neighbours(k.reshape(maps), self.dep_conv1).reshape(split)
        values = self.neighbours(v.reshape(maps), deformed_v).reshape(split)
        if self.relative_position_bias_table is not None:
            keys = keys + self.relative_position_bias_table.squeeze(-1)
        logits = (config.scale * q.unsqueeze(3) * keys).sum(dim=2)  # (batch, head, offset, H*W)
        attention = logits.softmax(dim=2).unsqueeze(2)
        out = (attention * values).sum(dim=3)  # (batch, head, d, H*W)
        return self.proj(out.reshape(batch, config.inner_dim, positions).transpose(1, 2))


class FoldedSlideAttention(SlideAttentionBase):
    """The folded form: one depthwise convolution for the keys and one for the values.

    Channels are (head, d) and outputs (head, d, offset). The position bias, which differs between
    heads, is part of ``key_conv.bias``, and the scale is multiplied into ``key_conv``.
    """

    def __init__(
        self,
        config: SlideAttentionConfig,
        layout: Layout = "nchw",
        resolution: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(config, layout, resolution)
        self.key_conv = config.neighbours_conv(config.inner_dim)
        self.value_conv = config.neighbours_conv(config.inner_dim)

    def attend(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """See ``SlideAttentionBase``."""
        config = self.config
        batch, positions, _ = tokens.shape
        q, k, v = self._project(tokens)
        maps = (batch, config.inner_dim, height, width)
        split = (batch, config.num_heads, config.head_dim, config.offsets, positions)
        keys = self.key_conv(k.reshape(maps)).reshape(split)
        values = self.value_conv(v.reshape(maps)).reshape(split)
        attention = (q.unsqueeze(3) * keys).sum(dim=2).softmax(dim=2).unsqueeze(2)
        out = (attention * values).sum(dim=3)  # (batch, head, d, H*W)
        return self.proj(out.reshape(batch, config.inner_dim, positions).transpose(1, 2))
