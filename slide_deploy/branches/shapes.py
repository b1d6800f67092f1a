"""Decide which convolutions can be merged into one, and compute the shape of the result.

Along an axis, a convolution of stride s with taps j = 0 .. k - 1 at dilation d computes

    y[m] = b + sum over j of W[j] x[s m - before + d j],    x = 0 outside 0 .. n - 1

for as many m as fit between ``before`` zeros in front and ``after`` zeros behind. So a tap is an
offset from ``s m``, and everything below is arithmetic on offsets.

Chain. ``second(first(x))`` reads x at ``s1 (s2 m - before2 + d2 i) - before1 + d1 j``, so that
``stride = s1 s2``, ``before = before1 + s1 before2`` and the offsets are ``s1 d2 i + d1 j``.
Outside the first output, ``second`` reads zeros, but the merged formula would compute values of
``first`` there. Both are zero if the first convolution has one tap, crops nothing and has no bias,
since x is zero there as well. An axis that ``second`` does not pad has no such positions.

Sum. Branches with the same stride and equally long outputs are one convolution with the taps of
all. Its dilation is the coarsest lattice that contains all taps. Torch pads both sides of an axis
alike, so zero taps extend the shorter side.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Axes = tuple[int, ...]


class CannotMerge(Exception):
    """Convolutions cannot be merged; the text is a clause with the reason."""


@dataclass(frozen=True)
class Shape:
    """The geometry of a convolution, with one number per spatial axis in each tuple.

    Attributes:
        inputs: number of input channels.
        outputs: number of output channels.
        groups: number of channel groups; input group i determines output group i alone.
        taps: size of the kernel.
        stride: input positions between two outputs.
        dilation: input positions between two taps; 1 if there is one tap.
        before: zeros in front of the input; negative if positions are cropped.
        after: the same at the end.
    """

    inputs: int
    outputs: int
    groups: int
    taps: Axes
    stride: Axes
    dilation: Axes
    before: Axes
    after: Axes

    @property
    def first(self) -> Axes:
        """The offset of the first tap along each axis."""
        return tuple(-each for each in self.before)

    @property
    def last(self) -> Axes:
        """The offset of the last tap along each axis."""
        spans = zip(self.first, self.taps, self.dilation, strict=True)
        return tuple(first + (taps - 1) * step for first, taps, step in spans)

    @property
    def weights(self) -> int:
        """Number of weights, which is also the multiplications per output position."""
        return self.outputs * (self.inputs // self.groups) * math.prod(self.taps)

    @property
    def is_diagonal(self) -> bool:
        """Whether each output channel is its input channel times a number."""
        return self.inputs == self.outputs == self.groups and set(self.taps) <= {1}

    @property
    def pads(self) -> bool:
        """Whether it reads zeros around its input."""
        return any(each > 0 for each in (*self.before, *self.after))


def pointwise(channels: int, axes: int) -> Shape:
    """The shape of a factor per channel."""
    ones, zeros = (1,) * axes, (0,) * axes
    return Shape(channels, channels, channels, ones, ones, ones, zeros, zeros)


def chained(second: Shape, first: Shape, has_bias: Callable[[], bool]) -> Shape:
    """Compute the shape of a convolution of a convolution.

    Args:
        second: shape of the convolution that runs last.
        first: shape of the convolution that reads the source.
        has_bias: returns whether ``first`` adds a bias; called only if that matters.

    Raises:
        CannotMerge: if ``second`` pads the output of ``first`` with zeros, and ``first`` would give
            other values there.
    """
    if second.pads:
        for axis in range(len(first.taps)):
            if second.before[axis] <= 0 and second.after[axis] <= 0:
                continue
            if first.taps[axis] > 1 or first.before[axis] < 0 or first.after[axis] < 0:
                raise CannotMerge("it pads the output of a larger kernel with zeros")
        if has_bias():
            raise CannotMerge("it pads the output of a layer with bias with zeros")
    strides = first.stride

    def scaled(ours: Axes, theirs: Axes) -> Axes:
        return tuple(a + step * b for a, b, step in zip(ours, theirs, strides, strict=True))

    before, after = scaled(first.before, second.before), scaled(first.after, second.after)
    taps, dilation = [], []
    for axis, step in enumerate(strides):
        inner = first.dilation[axis] if first.taps[axis] > 1 else 0
        outer = step * second.dilation[axis] if second.taps[axis] > 1 else 0
        lattice = math.gcd(inner, outer) or 1
        reach = inner * (first.taps[axis] - 1) + outer * (second.taps[axis] - 1)
        taps.append(reach // lattice + 1)
        dilation.append(lattice)
    return Shape(
        inputs=first.inputs,
        outputs=second.outputs,
        groups=math.gcd(first.groups, second.groups),
        taps=tuple(taps),
        stride=tuple(a * b for a, b in zip(strides, second.stride, strict=True)),
        dilation=tuple(dilation),
        before=before,
        after=after,
    )


def summed(shapes: Sequence[Shape], are_sizes_known: bool) -> Shape:
    """Compute the shape of a sum of convolutions, with equal padding on both sides.

    Args:
        shapes: shapes of convolutions of one input whose outputs are added, so their sizes agree.
        are_sizes_known: whether the input size is a number. Branches whose output sizes agree for
            some input sizes only cannot be merged at open sizes.

    Raises:
        CannotMerge: if they cannot be merged.
    """
    one = shapes[0]
    if any(each.stride != one.stride for each in shapes):
        raise CannotMerge("their strides differ")
    if any((each.inputs, each.outputs) != (one.inputs, one.outputs) for each in shapes):
        raise CannotMerge("their numbers of channels differ")
    axes = [_summed_axis(shapes, axis, are_sizes_known) for axis in range(len(one.taps))]
    pads = tuple(pad for _, _, pad in axes)
    return Shape(
        inputs=one.inputs,
        outputs=one.outputs,
        groups=math.gcd(*(each.groups for each in shapes)),
        taps=tuple(taps for taps, _, _ in axes),
        stride=one.stride,
        dilation=tuple(step for _, step, _ in axes),
        before=pads,
        after=pads,
    )


def _summed_axis(shapes: Sequence[Shape], axis: int, are_sizes_known: bool) -> tuple[int, int, int]:
    """Taps, dilation and zeros on either side along one axis."""
    lows = [each.first[axis] for each in shapes]
    highs = [each.last[axis] for each in shapes]
    # The length of an output depends on the input size, the stride and this difference.
    slack = {
        each.before[axis] + each.after[axis] - (high - low)
        for each, low, high in zip(shapes, lows, highs, strict=True)
    }
    if len(slack) > 1 and not are_sizes_known:
        raise CannotMerge("their outputs have equal sizes only for some input sizes")
    # With equal padding on both sides, taps reach from -pad to pad - length.
    length = min(slack, key=lambda each: max(-min(lows), max(highs) + each))
    pad = max(-min(lows), max(highs) + length, 0)
    low, high = -pad, pad - length
    step = 0
    for each, first in zip(shapes, lows, strict=True):
        step = math.gcd(step, first - low, each.dilation[axis] if each.taps[axis] > 1 else 0)
    step = math.gcd(step, high - low) or 1
    return (high - low) // step + 1, step, pad
