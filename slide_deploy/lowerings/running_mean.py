"""The running-mean form: as per-offset, without additions on the side of the values.

One offset of the keys costs nothing (``relative.py``), and so does one of the values, as follows.

With e = exp(logit - largest logit) and c its running sums, the mean of the first p + 1 values is

    mean[p] = V[p] + t[p] (mean[p-1] - V[p]),     t[p] = c[p-1] / c[p],     V[p] = conv_v[p](v)

What stands in brackets, y[p-1] = mean[p-1] - V[p], has a recurrence of its own, in which the values
come as differences, which are depthwise convolutions again:

    y[p] = (conv_v[p] - conv_v[p+1])(v) + t[p] y[p-1],     out = conv_v[K-1](v) + t[K-1] y[K-2]

So every addition follows a convolution, and runtimes compute both in one pass. All t are between 0
and 1: nothing grows. The shares themselves, e / c[K-1], are needed nowhere, so that there is no
softmax, which took longer on ONNX Runtime, as its axis is not the last. Both running sums of every
offset are one product with a triangle of ones.
"""

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.lowerings.bands import Band
from slide_deploy.lowerings.maps import convolve
from slide_deploy.lowerings.per_offset import PerOffset
from slide_deploy.lowerings.projection import constant, constant_conv
from slide_deploy.lowerings.relative import with_first
from slide_deploy.models.slide_attention import FoldedSlideAttention

# A logit this far below the largest counts as if it were no further: its share, e^-80, is lost in
# the rounding of any sum, of float64 too, and keeps 0 / 0 away where the first shares vanish.
# float32 still holds e^-80; float16 does not.
FURTHEST = -80.0


class RunningMean(PerOffset):
    """See the module's description.

    Raises:
        InputError: if a position has no neighbours.
    """

    @torch.no_grad()
    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        if self.config.offsets == 1:
            raise InputError(
                "A neighbourhood of one position has no running mean: choose another lowering."
            )
        first, *others = self.key_convs
        self.key_convs = nn.ModuleList(_difference(conv, first) for conv in others)
        values = list(self.value_convs)
        self.value_convs = nn.ModuleList(map(_difference, values, values[1:]))
        self.value_convs.append(values[-1])
        # (1, sum, offset): ones up to the offset; all sums but the last, then all but the first.
        offsets = self.config.offsets
        sums = torch.ones(offsets, offsets, dtype=folded.proj.weight.dtype).tril()
        self.sums = constant(torch.cat([sums[:-1], sums[1:]])[None])

    def attend(self, q: Tensor, k: Tensor, v: Tensor, band: Band) -> Tensor:
        """See ``MapForm.attend``."""
        heads = self.config.num_heads
        steps = self.steps(with_first(self.logits(q, k, band)))
        maps = steps.reshape(-1, (self.config.offsets - 1) * heads, *self.share_shape(q))
        first, *rest = self.value_convs
        out = convolve(first, v, band)
        for step, conv in zip(maps.split(heads, dim=1), rest, strict=True):
            out = convolve(conv, v, band) + self.weigh(step, out)
        return out

    def steps(self, logits: Tensor) -> Tensor:
        """Every t: (batch, offset, head * positions) to (batch, offset - 1, head * positions)."""
        below = (logits - logits.amax(dim=1, keepdim=True)).clamp(min=FURTHEST)
        before, until = (self.sums @ below.exp()).split(self.config.offsets - 1, dim=1)
        return before / until


def _difference(conv: nn.Module, other: nn.Module) -> nn.Conv2d:
    """The convolution that gives what the first answers, the other's answer taken off."""
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(other, nn.Conv2d)
    assert conv.bias is not None
    assert other.bias is not None
    difference = constant_conv(conv.weight - other.weight, conv.bias - other.bias, conv.groups)
    difference.padding = conv.padding
    return difference
