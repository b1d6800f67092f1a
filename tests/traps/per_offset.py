"""The per-offset form: K depthwise convolutions of one output a group on each side.

    logit[p] = ones (q * conv_k[p](k)),   out = sum_p spread(softmax(logit)[p]) * conv_v[p](v)

``ones`` is a 1x1 convolution that sums the d features of each head, ``spread`` one that copies a
head's number to its d features. Rank 4 everywhere. No exporter writes it yet; it is here so that
what runtimes do with it is known before one does.
"""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.depthwise import split_projection
from slide_deploy.models.slide_attention import FoldedSlideAttention


class PerOffsetSlideAttention(nn.Module):
    """A folded slide attention on tokens, in the per-offset form.

    Args:
        folded: the layer to write.
    """

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__()
        self.config = folded.config
        self.resolution = folded.resolution
        self.query, self.key, self.value = split_projection(folded)
        self.key_convs = _one_each(folded.key_conv, folded.config.offsets)
        self.value_convs = _one_each(folded.value_conv, folded.config.offsets)
        heads, channels = folded.config.num_heads, folded.config.inner_dim
        self.sum = _ones(channels, heads)
        self.spread = _ones(heads, channels)
        self.proj = folded.proj

    def forward(self, tokens: Tensor) -> Tensor:
        """Keep the shape (batch, H*W, dim)."""
        heads, offsets = self.config.num_heads, self.config.offsets
        height, width = self.resolution
        maps = tokens.transpose(1, 2).reshape(-1, tokens.shape[2], height, width)
        q, k, v = self.query(maps), self.key(maps), self.value(maps)
        # each (batch, head, H, W)
        logits = [self.sum(q * conv(k)) for conv in self.key_convs]
        # (batch, offset, head, H*W)
        stacked = torch.cat(logits, dim=1).reshape(-1, offsets, heads, height * width)
        attention = stacked.softmax(dim=1).reshape(-1, offsets * heads, height, width)
        shares = attention.split(heads, dim=1)
        parts = [
            self.spread(share) * conv(v)
            for share, conv in zip(shares, self.value_convs, strict=True)
        ]
        out = reduce(add, parts)
        return self.proj(out.flatten(2).transpose(1, 2))


def _one_each(conv: nn.Conv2d, offsets: int) -> nn.ModuleList:
    """The convolution of each offset, from the one whose outputs are (channel, offset)."""

    def convolution(offset: int) -> nn.Conv2d:
        channels, size = conv.in_channels, conv.kernel_size
        single = nn.Conv2d(channels, channels, size, padding=conv.padding, groups=channels)
        single.weight = nn.Parameter(conv.weight[offset::offsets].clone(), False)
        single.bias = nn.Parameter(conv.bias[offset::offsets].clone(), False)
        return single

    return nn.ModuleList(map(convolution, range(offsets)))


def _ones(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 1, groups=min(inputs, outputs), bias=False)
    conv.weight = nn.Parameter(torch.ones_like(conv.weight), False)
    return conv
