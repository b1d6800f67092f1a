"""The running-mean form: as per-offset, without additions on the side of the values.

With s the shares of attention and c their running sums, the mean of the first p + 1 values is

    mean[p] = V[p] + t[p] (mean[p-1] - V[p]),     t[p] = c[p-1] / c[p],     V[p] = conv_v[p](v)

What stands in brackets, y[p-1] = mean[p-1] - V[p], has a recurrence of its own, in which the values
come as differences, which are depthwise convolutions again:

    y[p] = (conv_v[p] - conv_v[p+1])(v) + t[p] y[p-1],     out = conv_v[K-1](v) + t[K-1] y[K-2]

So every addition follows a convolution, and runtimes compute both in one pass. All t are between 0
and 1: nothing grows. For float32 and float64; float16 may flush what keeps 0 / 0 away from a t.
"""

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.bands import Band
from slide_deploy.lowerings.maps import convolve
from slide_deploy.lowerings.per_offset import PerOffset
from slide_deploy.lowerings.projection import constant_conv
from slide_deploy.models.slide_attention import FoldedSlideAttention


class RunningMean(PerOffset):
    """See the module's description."""

    @torch.no_grad()
    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        heads, offsets, dtype = self.config.num_heads, self.config.offsets, folded.proj.weight.dtype
        values = list(self.value_convs)
        self.value_convs = nn.ModuleList(map(_difference, values, values[1:]))
        self.value_convs.append(values[-1])
        # (offset, offset): ones up to the offset; each a channel of (offset, head).
        sums = torch.ones(offsets, offsets, dtype=dtype).tril()
        sums = torch.kron(sums, torch.eye(heads, dtype=dtype))[..., None, None]
        # As if the first share were larger by half a unit in the last place of 1: keeps 0 / 0 away
        # where the first shares vanish.
        least = torch.full(sums.shape[:1], torch.finfo(dtype).eps / 2, dtype=dtype)
        self.before = constant_conv(sums[:-heads], least[:-heads])
        self.until = constant_conv(sums[heads:], least[heads:])

    def attend(self, q: Tensor, k: Tensor, v: Tensor, band: Band) -> Tensor:
        """See ``MapForm.attend``."""
        shares = self.attention(q, k, band)
        steps = (self.before(shares) / self.until(shares)).split(self.config.num_heads, dim=1)
        first, *rest = self.value_convs
        out = convolve(first, v, band)
        for step, conv in zip(steps, rest, strict=True):
            out = convolve(conv, v, band) + self.weigh(step, out)
        return out


def _difference(conv: nn.Module, following: nn.Module) -> nn.Conv2d:
    """The convolution that gives what both answer, the following one taken off."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(following, nn.Conv2d)
    assert conv.bias is not None
    assert following.bias is not None
    difference = constant_conv(
        conv.weight - following.weight, conv.bias - following.bias, conv.groups
    )
    difference.padding = conv.padding
    return difference
