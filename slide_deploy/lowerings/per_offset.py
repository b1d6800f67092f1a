"""The per-offset form: K depthwise convolutions of one output a channel on each side.

    logit[p] = sum (q * conv_k[p](k)),   out = sum_p spread(softmax(logit)[p]) * conv_v[p](v)

``sum`` is a 1x1 convolution with ones that sums the d features of each head, ``spread`` one that
copies a head's number to its d features. Rank 4 everywhere, and the only form in which runtimes use
their depthwise kernels: those compute one output a channel.
"""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.bands import Band
from slide_deploy.lowerings.maps import MapForm, convolve
from slide_deploy.lowerings.projection import constant_conv
from slide_deploy.models.slide_attention import FoldedSlideAttention


class PerOffset(MapForm):
    """See the module's description."""

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        self.key_convs = nn.ModuleList(_one_each(folded.key_conv, self.config.offsets))
        self.value_convs = nn.ModuleList(_one_each(folded.value_conv, self.config.offsets))
        # (head, C): ones where the feature belongs to the head. Dense, not grouped: runtimes have
        # no fast kernel for a group with one output.
        heads = torch.eye(self.config.num_heads, dtype=folded.proj.weight.dtype)
        owner = heads.repeat_interleave(self.config.head_dim, dim=1)[:, :, None, None]
        self.sum = constant_conv(owner)
        self.spread = constant_conv(owner.transpose(0, 1))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, band: Band) -> Tensor:
        """See ``MapForm.attend``."""
        heads, offsets = self.config.num_heads, self.config.offsets
        logits = [self.sum(q * convolve(conv, k, band)) for conv in self.key_convs]
        # (batch, offset, head * positions)
        stacked = torch.cat(logits, dim=1).reshape(-1, offsets, heads * q.shape[2] * q.shape[3])
        attention = stacked.softmax(dim=1).reshape(-1, offsets * heads, *q.shape[2:])
        # One after the other: no more than two of the K maps are alive.
        parts = (
            self.spread(share) * convolve(conv, v, band)
            for share, conv in zip(attention.split(heads, dim=1), self.value_convs, strict=True)
        )
        return reduce(add, parts)


def _one_each(conv: nn.Conv2d, offsets: int) -> list[nn.Conv2d]:
    """The convolution of each offset, from the one whose outputs are (channel, offset)."""
    weight, bias = conv.weight, conv.bias
    assert bias is not None

    def convolution(offset: int) -> nn.Conv2d:
        single = constant_conv(weight[offset::offsets], bias[offset::offsets], conv.groups)
        single.padding = conv.padding
        return single

    return [convolution(offset) for offset in range(offsets)]
