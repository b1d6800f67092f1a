"""The running-mean form: depthwise convolutions of one output a channel, K - 1 for k, K for v.

    logit[p] = sum (q * conv_k[p](k)),     mean[p] = the weighted mean of the first p + 1 values

``sum`` is a 1x1 convolution with ones that sums the d features of each head. All tensors keep the
channels in the second axis, the layout of convolutions, and nothing is gathered. Runtimes have
fast kernels for such convolutions, since each computes one output a channel.

One offset of the keys costs nothing (``logits.py``), and so does one addition of the values. With
e = exp(logit - largest logit) and c its running sums, the means have a recurrence:

    mean[p] = V[p] + t[p] (mean[p-1] - V[p]),     t[p] = c[p-1] / c[p],     V[p] = conv_v[p](v)

The difference in brackets, y[p-1] = mean[p-1] - V[p], has a recurrence of its own. It needs only
differences of the values, which are depthwise convolutions again:

    y[p] = (conv_v[p] - conv_v[p+1])(v) + t[p] y[p-1],     out = conv_v[K-1](v) + t[K-1] y[K-2]

So every addition follows a convolution, and runtimes compute both in one pass. All t are between 0
and 1: nothing grows. The softmax e / c[K-1] is never computed, which saves time on ONNX Runtime,
where a softmax is slow along any axis but the last. Both running sums of every offset are one
matmul with a triangle of ones.

The first running sums underflow to zero if the largest logits come last, and t = 0 / 0 is
undefined. So every sum is at least one rounding error of the total. The values before it then have
no weight in the output, and float16 can represent this minimum too.
"""

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.form import NchwForm, convolve
from slide_deploy.lowerings.logits import relative, with_first
from slide_deploy.lowerings.projection import constant, constant_conv
from slide_deploy.lowerings.strips import Strip
from slide_deploy.models.slide_attention import FoldedSlideAttention


class RunningMean(NchwForm):
    """The running-mean form; the module's docstring has the formula.

    Raises:
        InputError: the neighbourhood is one position.
    """

    @torch.no_grad()
    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        config, kind = self.config, folded.proj.weight.dtype
        key, key_bias = _by_offset(folded.key_conv, config.offsets)
        self.key_convs = _depthwise(folded.key_conv, relative(key, 1), relative(key_bias, 1))
        value, value_bias = (
            torch.cat([each[:, :-1] - each[:, 1:], each[:, -1:]], dim=1)
            for each in _by_offset(folded.value_conv, config.offsets)
        )
        self.value_convs = _depthwise(folded.value_conv, value, value_bias)
        # (head, d): a group of ones for each head.
        ones = torch.ones(config.num_heads, config.head_dim, 1, 1, dtype=kind)
        self.sum = constant_conv(ones, groups=config.num_heads)
        # (C, head): ones where the feature belongs to the head. It is dense because with one group
        # for each head it would be a depthwise convolution with d outputs, for which runtimes have
        # no fast kernel.
        heads = torch.eye(config.num_heads, dtype=kind).repeat_interleave(config.head_dim, 0)
        self.spread = constant_conv(heads[..., None, None])
        # (1, sum, offset): a triangle of ones; all running sums but the last, then all but the
        # first.
        sums = torch.ones(config.offsets, config.offsets, dtype=kind).tril()
        self.sums = constant(torch.cat([sums[:-1], sums[1:]])[None])
        self.least = torch.finfo(kind).eps

    def attend(self, q: Tensor, k: Tensor, v: Tensor, strip: Strip) -> Tensor:
        """See ``NchwForm.attend``."""
        heads, (height, width) = self.config.num_heads, q.shape[2:]
        steps = self.steps(with_first(self.logits(q, k, strip)))
        steps = steps.reshape(-1, (self.config.offsets - 1) * heads, height, width)
        first, *rest = self.value_convs
        out = convolve(first, v, strip)
        for step, conv in zip(steps.split(heads, dim=1), rest, strict=True):
            out = convolve(conv, v, strip) + self.spread(step) * out
        return out

    def logits(self, q: Tensor, k: Tensor, strip: Strip) -> Tensor:
        """Return all logits but the first, (batch, offset - 1, head * positions).

        Args:
            q: queries, as in ``attend``.
            k: keys, as in ``attend``.
            strip: the position of the rows in the feature map.
        """
        logits = [self.sum(q * convolve(conv, k, strip)) for conv in self.key_convs]
        numbers = self.config.num_heads * q.shape[2] * q.shape[3]
        return torch.cat(logits, dim=1).reshape(-1, len(logits), numbers)

    def steps(self, logits: Tensor) -> Tensor:
        """Return every t, (batch, offset - 1, head * positions).

        Args:
            logits: (batch, offset, head * positions).
        """
        below = logits - logits.amax(dim=1, keepdim=True)
        before, until = (self.sums @ below.exp()).split(self.config.offsets - 1, dim=1)
        return before / until.clamp(min=self.least)


def _by_offset(conv: nn.Conv2d, offsets: int) -> tuple[Tensor, Tensor]:
    """Split a convolution with K outputs a channel into weights and biases by offset.

    Returns:
        Weights (C, offset, 1, k, k) and bias (C, offset).
    """
    assert conv.bias is not None
    return conv.weight.unflatten(0, (-1, offsets)), conv.bias.unflatten(0, (-1, offsets))


def _depthwise(like: nn.Conv2d, weights: Tensor, biases: Tensor) -> nn.ModuleList:
    """Return one depthwise convolution for each offset, padded as ``like``.

    Args:
        like: the convolution that gives groups and padding.
        weights: (C, offset, 1, k, k).
        biases: (C, offset).
    """
    convs = nn.ModuleList()
    for weight, bias in zip(weights.unbind(1), biases.unbind(1), strict=True):
        conv = constant_conv(weight, bias, like.groups)
        conv.padding = like.padding
        convs.append(conv)
    return convs
