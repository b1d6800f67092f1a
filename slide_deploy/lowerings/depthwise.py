"""The depthwise form: each side is one depthwise convolution with K outputs a channel.

    key = conv_k(k), value = conv_v(v)                        (batch, head * d * offset, H, W)
    logit = sum_d q * key,  out = sum_offset softmax(logit) * value

It is the canonical form: what "folded into a single depthwise convolution" means. Queries, keys and
values come from 1x1 convolutions of their own, because a slice of one wide projection makes ONNX
Runtime leave the blocked layout of its convolutions.
"""

import torch
from torch import Tensor, nn

from slide_deploy.models.slide_attention import FoldedSlideAttention


class DepthwiseSlideAttention(nn.Module):
    """A folded slide attention in the depthwise form, rank 4 throughout.

    Args:
        folded: the layer to write; its weights are shared, not copied.
    """

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__()
        self.config = folded.config
        self.layout = folded.layout
        self.resolution = folded.resolution
        self.query, self.key, self.value = split_projection(folded)
        self.key_conv = folded.key_conv
        self.value_conv = folded.value_conv
        self.proj = folded.proj

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, None, None]:
        """Attend; shapes as in ``SlideAttentionBase.forward``."""
        if self.layout == "nchw":
            out = self._attend(x).reshape(-1, self.config.inner_dim, x.shape[2] * x.shape[3])
            return self.proj(out.transpose(1, 2)).transpose(1, 2).reshape(x.shape), None, None
        assert self.resolution is not None
        maps = x.transpose(1, 2).reshape(-1, x.shape[2], *self.resolution)
        out = self._attend(maps).reshape(-1, self.config.inner_dim, x.shape[1])
        return self.proj(out.transpose(1, 2))

    def _attend(self, maps: Tensor) -> Tensor:
        """(batch, dim, H, W) to (batch * head, d, H*W)."""
        config = self.config
        positions = maps.shape[2] * maps.shape[3]
        key_map = self.key(maps)
        # Where one projection serves as q, k and v it is computed once.
        query_map = key_map if self.query is self.key else self.query(maps)
        value_map = key_map if self.value is self.key else self.value(maps)
        # (batch * head, d, offset, H*W)
        split = (-1, config.head_dim, config.offsets, positions)
        q = query_map.reshape(-1, config.head_dim, 1, positions)
        keys = self.key_conv(key_map).reshape(split)
        values = self.value_conv(value_map).reshape(split)
        attention = (q * keys).sum(dim=1, keepdim=True).softmax(dim=2)
        return (attention * values).sum(dim=2)


def split_projection(folded: FoldedSlideAttention) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    """The projection of q, k and v as 1x1 convolutions, one module thrice where it is shared."""
    config, qkv = folded.config, folded.qkv
    parts = 1 if config.share_qkv else 3

    def project(part: int) -> nn.Conv2d:
        conv = nn.Conv2d(config.dim, config.inner_dim, 1, bias=config.qkv_bias)
        # Rows are (head, q|k|v, d).
        rows = qkv.weight.unflatten(0, (config.num_heads, parts, config.head_dim))[:, part]
        conv.weight = _constant(rows.reshape(config.inner_dim, config.dim, 1, 1))
        if config.qkv_bias:
            bias = qkv.bias.unflatten(0, (config.num_heads, parts, config.head_dim))[:, part]
            conv.bias = _constant(bias.reshape(-1))
        return conv

    if config.share_qkv:
        shared = project(0)
        return shared, shared, shared
    return project(0), project(1), project(2)


def _constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().to(memory_format=torch.contiguous_format).clone(), False)
