"""Shapes of convolutions: which of them are one convolution together, and of which shape.

Along an axis, a convolution of stride s with taps j = 0 .. k - 1 at dilation d computes

    y[m] = b + sum over j of W[j] x[s m - before + d j],    x = 0 outside 0 .. n - 1

for as many m as fit between ``before`` zeros in front and ``after`` zeros behind. So a tap is an
offset from ``s m``, and all that follows is arithmetic of offsets.

Chain. ``second(first(x))`` reads x at ``s1 (s2 m - before2 + d2 i) - before1 + d1 j``, so that
``stride = s1 s2``, ``before = before1 + s1 before2`` and the offsets are ``s1 d2 i + d1 j``. What
``second`` reads outside of the first output is zero, while the formula of the first has values
there. They agree where the first has one tap and crops nothing, since x is zero there as well, and
no bias. Along an axis that ``second`` does not pad, it reads nothing outside.

Sum. Branches of one stride whose outputs are equally long are one convolution with the taps of all.
Taps lie on the coarsest lattice that holds them, which is the dilation. Convolutions of torch pad
both sides alike, so that taps of zeros fill up the shorter side.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Axes = tuple[int, ...]


class Different(Exception):
    """Convolutions are not one convolution together; the text is a clause with the reason."""


@dataclass(frozen=True)
class Shape:
    """The shape of a convolution; one number an axis where there are several.

    Attributes:
        inputs: channels.
        outputs: channels.
        groups: of channels; input group i goes to output group i alone.
        taps: of the kernel.
        stride: between positions of two outputs.
        dilation: between positions of two taps; 1 where there is one tap.
        before: zeros in front of the input; negative where positions are left out.
        after: the same behind.
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
        """Numbers of the kernel, which is also the products that an output position takes."""
        return self.outputs * (self.inputs // self.groups) * math.prod(self.taps)

    @property
    def is_diagonal(self) -> bool:
        """Whether each output channel is its input channel, times a number."""
        return self.inputs == self.outputs == self.groups and set(self.taps) <= {1}

    @property
    def pads(self) -> bool:
        """Whether it reads zeros around its input."""
        return any(each > 0 for each in (*self.before, *self.after))


def pointwise(channels: int, axes: int) -> Shape:
    """The shape of a factor for each channel."""
    ones, zeros = (1,) * axes, (0,) * axes
    return Shape(channels, channels, channels, ones, ones, ones, zeros, zeros)


def chained(second: Shape, first: Shape, has_bias: Callable[[], bool]) -> Shape:
    """The shape of a convolution of a convolution.

    Args:
        second: of what is computed last.
        first: of what is computed from the source.
        has_bias: whether ``first`` adds a bias; asked only where that matters.

    Raises:
        Different: if ``second`` reads around what ``first`` gave, and zeros there are something
            else than ``first`` would give.
    """
    if second.pads:
        for axis in range(len(first.taps)):
            if second.before[axis] <= 0 and second.after[axis] <= 0:
                continue
            if first.taps[axis] > 1 or first.before[axis] < 0 or first.after[axis] < 0:
                raise Different("it pads with zeros what a larger kernel gave")
        if has_bias():
            raise Different("it pads with zeros what a bias was added to")
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
    """The shape of the convolution that is the sum of some, padded alike on both sides.

    Args:
        shapes: of convolutions of one input that are added, so that their outputs are of one size.
        are_sizes_known: whether that size is a number. Branches that give one size for some inputs
            and several for others are no sum at open sizes.

    Raises:
        Different: if they are not one convolution.
    """
    one = shapes[0]
    if any(each.stride != one.stride for each in shapes):
        raise Different("strides differ")
    if any((each.inputs, each.outputs) != (one.inputs, one.outputs) for each in shapes):
        raise Different("numbers of channels differ")
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
    """Taps, dilation and zeros on either side, along one axis."""
    lows = [each.first[axis] for each in shapes]
    highs = [each.last[axis] for each in shapes]
    # Outputs of a stride are as long as the input and this together let them be.
    slack = {
        each.before[axis] + each.after[axis] - (high - low)
        for each, low, high in zip(shapes, lows, highs, strict=True)
    }
    if len(slack) > 1 and not are_sizes_known:
        raise Different("their outputs are of one size only for some sizes of the input")
    # With as many zeros on either side, taps reach from -pad to pad - length.
    length = min(slack, key=lambda each: max(-min(lows), max(highs) + each))
    pad = max(-min(lows), max(highs) + length, 0)
    low, high = -pad, pad - length
    step = 0
    for each, first in zip(shapes, lows, strict=True):
        step = math.gcd(step, first - low, each.dilation[axis] if each.taps[axis] > 1 else 0)
    step = math.gcd(step, high - low) or 1
    return (high - low) // step + 1, step, pad
