"""The per-offset forms: K depthwise convolutions of one output a channel on each side.

    logit[p] = sum (q * conv_k[p](k)),   out = sum_p softmax(logit)[p] * conv_v[p](v)

``sum`` is a 1x1 convolution with ones that sums the d features of each head. Rank 4 everywhere, and
the only forms in which runtimes use their depthwise kernels: those compute one output a channel.

How a head's share of attention meets its d features makes two forms. *per-offset* spreads it by a
1x1 convolution with ones, so that all stays in the layout of convolutions. *broadcast* multiplies
(head, 1, positions) with (head, d, positions), which saves a pass where that layout is left anyway.
"""

from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.bands import Band
from slide_deploy.lowerings.maps import MapForm, convolve
from slide_deploy.lowerings.projection import constant_conv
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Broadcast(MapForm):
    """Shares of attention are broadcast over the features of their head."""

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        config = self.config
        self.key_convs = nn.ModuleList(_one_each(folded.key_conv, config.offsets))
        self.value_convs = nn.ModuleList(_one_each(folded.value_conv, config.offsets))
        # (head, d): a group of ones for each head.
        ones = torch.ones(config.num_heads, config.head_dim, 1, 1, dtype=folded.proj.weight.dtype)
        self.sum = constant_conv(ones, groups=config.num_heads)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, band: Band) -> Tensor:
        """See ``MapForm.attend``."""
        attention = self.attention(q, k, band).split(self.config.num_heads, dim=1)
        # One after the other: no more than two of the K maps are alive.
        parts = (
            self.weigh(share, convolve(conv, v, band))
            for share, conv in zip(attention, self.value_convs, strict=True)
        )
        return reduce(add, parts).reshape(q.shape)

    def attention(self, q: Tensor, k: Tensor, band: Band) -> Tensor:
        """The shares of attention: (batch, offset * head, *``share_shape``); see ``attend``."""
        shares = self.logits(q, k, band).softmax(dim=1)
        channels = self.config.offsets * self.config.num_heads
        return shares.reshape(-1, channels, *self.share_shape(q))

    def logits(self, q: Tensor, k: Tensor, band: Band) -> Tensor:
        """Queries times keys: (batch, key convolution, head * positions); see ``attend``."""
        logits = [self.sum(q * convolve(conv, k, band)) for conv in self.key_convs]
        numbers = self.config.num_heads * q.shape[2] * q.shape[3]
        return torch.cat(logits, dim=1).reshape(-1, len(logits), numbers)

    def share_shape(self, q: Tensor) -> tuple[int, int]:
        """How the positions of an offset's shares lie."""
        return 1, q.shape[2] * q.shape[3]

    def weigh(self, share: Tensor, values: Tensor) -> Tensor:
        """Multiply the shares of an offset with its values.

        Args:
            share: (batch, head, *``share_shape``).
            values: (batch, C, H, W).

        Returns:
            The products, in any shape that all offsets have.
        """
        heads = (-1, self.config.num_heads, self.config.head_dim, share.shape[3])
        return share * values.reshape(heads)


class PerOffset(Broadcast):
    """Shares of attention are spread over the features of their head by a convolution."""

    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        # (C, head): ones where the feature belongs to the head. Dense: as groups of one input it
        # would be a depthwise convolution with d outputs, for which runtimes have no fast kernel.
        heads = torch.eye(self.config.num_heads, dtype=folded.proj.weight.dtype)
        self.spread = constant_conv(
            heads.repeat_interleave(self.config.head_dim, 0)[..., None, None]
        )

    def share_shape(self, q: Tensor) -> tuple[int, int]:
        """See ``Broadcast.share_shape``."""
        return q.shape[2], q.shape[3]

    def weigh(self, share: Tensor, values: Tensor) -> Tensor:
        """See ``Broadcast.weigh``."""
        return self.spread(share) * values


def _one_each(conv: nn.Conv2d, offsets: int) -> list[nn.Conv2d]:
    """The convolution of each offset, from the one whose outputs are (channel, offset)."""
    weight, bias = conv.weight, conv.bias
    assert bias is not None

    def convolution(offset: int) -> nn.Conv2d:
        single = constant_conv(weight[offset::offsets], bias[offset::offsets], conv.groups)
        single.padding = conv.padding
        return single

    return [convolution(offset) for offset in range(offsets)]
