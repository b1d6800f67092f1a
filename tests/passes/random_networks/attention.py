"""Random attention: packed or separate, with tables and masks, in windows, and slide attention."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.models.slide_attention import (
    PADDING_MODES,
    FoldedSlideAttention,
    SlideAttentionConfig,
)
from slide_deploy.models.window_attention import (
    WindowAttention,
    merge_windows,
    partition_windows,
    roll_maps,
    shifted_window_mask,
)
from tests.passes.random_networks import parts
from tests.passes.random_networks.builder import Builder, Value

MOST_POSITIONS = 128


class Attention(nn.Module):
    """Softmax attention over tokens.

    Args:
        dim: channels.
        heads: divides ``dim``.
        packed: how queries, keys and values come out of one projection: "qkv" (part, head, d),
            "heads" (head, part, d), "split" (cut by ``chunk``), or "apart" from three of their own.
        scaled: what is scaled: "logits", "queries", "divided" logits, or "nothing".
        bias: of the projections.
        table: (heads, positions, positions) added to the logits, or less that is broadcast.
        mask: the same, added after it.
        fused: whether it is one operator in torch.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        packed: str,
        scaled: str,
        bias: bool,
        table: Tensor | None,
        mask: Tensor | None,
        fused: bool,
    ) -> None:
        super().__init__()
        self.heads, self.packed, self.scaled, self.fused = heads, packed, scaled, fused
        if packed == "apart":
            self.q, self.k, self.v = (nn.Linear(dim, dim, bias=bias) for _ in range(3))
        else:
            self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim, bias=bias)
        self.table = None if table is None else nn.Parameter(table)
        self.register_buffer("mask", mask)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (batch, head, positions, d)."""
        batch, positions, dim = x.shape
        d = dim // self.heads
        if self.packed == "apart":
            rows = (self.q(x), self.k(x), self.v(x))
        elif self.packed == "split":
            rows = self.qkv(x).chunk(3, -1)
        elif self.packed == "heads":
            q, k, v = self.qkv(x).view(batch, positions, self.heads, 3, d).unbind(3)
            return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        else:
            packed = self.qkv(x).reshape(batch, positions, 3, self.heads, d)
            q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
            return q, k, v
        q, k, v = (each.reshape(batch, positions, self.heads, d).transpose(1, 2) for each in rows)
        return q, k, v

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._parts(x)
        if self.fused:
            added = self.table if self.mask is None else self.mask
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=added)
        else:
            scale = q.shape[-1] ** -0.5
            if self.scaled == "queries":
                q = q * scale
            logits = q @ k.transpose(-2, -1)
            if self.scaled == "logits":
                logits = logits * scale
            elif self.scaled == "divided":
                logits = logits / math.sqrt(q.shape[-1])
            if self.table is not None:
                logits = logits + self.table
            if self.mask is not None:
                logits = logits + self.mask
            out = logits.softmax(-1) @ v
        return self.proj(out.transpose(1, 2).reshape(x.shape))


def heads_of(b: Builder, x: Value) -> int:
    return b.choose([each for each in (2, 1, 4) if x.channels % each == 0])


def attention(b: Builder, x: Value) -> Value:
    """Attention over all tokens, with the layers around it in a transformer."""
    heads, positions = heads_of(b, x), x.example.shape[1]
    if positions > MOST_POSITIONS:
        return x
    shapes = ((heads, positions, positions), (1, heads, 1, positions), (positions, positions))
    table = b.normal(*b.choose(shapes)) if b.chance(0.4) else None
    mask = None
    if b.chance(0.3):
        mask = torch.zeros(positions, positions, dtype=torch.float64)
        mask[torch.ones_like(mask).triu(1).bool()] = b.choose((-100.0, float("-inf")))
    layer = Attention(
        x.channels,
        heads,
        packed=b.choose(("qkv", "heads", "split", "apart")),
        scaled=b.choose(("logits", "queries", "divided", "nothing")),
        bias=not b.chance(0.3),
        table=table,
        mask=mask,
        fused=b.chance(0.4),
    )
    before = layer.table, layer.mask
    layer = b.trained(layer)
    if before[1] is not None:
        layer.mask.copy_(mask)
    text = f"attention {heads} {layer.packed} {layer.scaled}, fused: {layer.fused}, " + (
        f"table: {None if table is None else tuple(table.shape)}, mask: {mask is not None}"
    )
    inner = parts.layer_norm(b, x) if b.chance(0.6) else x
    out = b.apply(text, layer, inner)
    return b.apply("add", torch.add, x, out) if b.chance(0.7) else out


class Windows(nn.Module):
    """Shifted window attention on channels-last feature maps."""

    def __init__(self, inner: WindowAttention, shift: int, mask: Tensor | None, rank: int) -> None:
        super().__init__()
        self.inner, self.shift, self.rank = inner, shift, rank
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        window, (height, width, channels) = self.inner.window, x.shape[1:]
        if self.shift:
            x = roll_maps(x, self.shift) if self.rank == 4 else x.roll((-self.shift,) * 2, (1, 2))
        if self.rank == 4:
            windows = partition_windows(x, window)
        else:  # as the authors of Swin wrote it
            cut = x.view(-1, height // window, window, width // window, window, channels)
            windows = cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)
        out = self.inner(windows, self.mask)
        if self.rank == 4:
            x = merge_windows(out, window, (height, width))
        else:
            cut = out.view(-1, height // window, width // window, window, window, channels)
            x = cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)
        if self.shift:
            x = roll_maps(x, -self.shift) if self.rank == 4 else x.roll((self.shift,) * 2, (1, 2))
        return x


def windows(b: Builder, x: Value) -> Value:
    """Attention in windows of 2x2, shifted or not."""
    if x.layout != "last" or x.dims != 2 or any(size % 2 for size in x.grid) or min(x.grid) < 4:
        return x
    inner = WindowAttention(x.channels, heads_of(b, x), 2, qkv_bias=not b.chance(0.3))
    shift = b.choose((0, 1))
    mask = torch.from_numpy(shifted_window_mask(x.grid, 2)).double() if shift else None
    layer = Windows(b.trained(inner), shift, mask, b.choose((6, 4)))
    inside = parts.layer_norm(b, x) if b.chance() else x
    text = f"windows shifted {shift}, rank {layer.rank}, heads {inner.num_heads}"
    out = b.apply(text, layer, inside)
    return b.apply("add", torch.add, x, out) if b.chance() else out


class _First(nn.Module):
    """Takes the feature map from the outputs of slide attention."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x)[0]


def slide_attention(b: Builder, x: Value) -> Value:
    """A folded slide attention in any form, on a feature map or on tokens."""
    if x.layout == "last" or x.dims != 2 or not b.fits(x.example.numel() * 9):
        return x
    tokens = x.layout == "tokens"
    if tokens and x.example.shape[1] != math.prod(x.grid):
        return x
    config = SlideAttentionConfig(
        dim=x.channels,
        num_heads=heads_of(b, x),
        qkv_bias=not b.chance(0.3),
        rpb=not b.chance(0.3),
        share_qkv=b.chance(0.2),
        padding_mode=b.choose(PADDING_MODES) if min(x.grid) > 1 else "zeros",
    )
    layout, resolution = ("tokens", tuple(x.grid)) if tokens else ("nchw", None)
    layer = b.trained(FoldedSlideAttention(config, layout, resolution))
    # One kernel for all heads, as in trained models and as flat requires.
    for tensor in (layer.key_conv.weight, layer.value_conv.weight, layer.value_conv.bias):
        heads = tensor.view(config.num_heads, -1)
        heads.copy_(heads[:1].clone().expand_as(heads))
    layer.key_conv.weight.mul_(0.3)
    strips = b.choose((1, 1, 2)) if x.grid[0] > 2 else 1
    lowering = Lowering(b.choose(tuple(FORMS)), strips)
    lowered = lower(nn.Sequential(layer), lowering)[0]
    inner = parts.layer_norm(b, x) if tokens and b.chance(0.6) else x
    text = f"slide attention {lowering} {config}"
    out = b.apply(text, lowered if tokens else _First(lowered), inner)
    return b.apply("add", torch.add, x, out) if b.chance(0.6) else out
