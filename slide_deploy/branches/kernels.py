"""Compute the weights of sums and chains of convolutions, in float64.

Chain, with offsets as in ``shapes``:

    W[o, i, at s1 d2 t + d1 j] = sum over m of W2[o, m, t] W1[m, i, j]
    b[o] = b2[o] + sum over m and t of W2[o, m, t] b1[m]

Sum: kernels are added tap by tap, and so are biases. The number of groups becomes the greatest
common divisor of all. A coarse group is a block matrix per tap, with zeros between the finer groups
that it joins.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.branches.shapes import Shape, pointwise

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True)
class Kernel:
    """A convolution with its weights.

    Attributes:
        shape: geometry of the convolution.
        weight: (outputs, inputs / groups, taps along each axis), float64.
        bias: (outputs), float64.
    """

    shape: Shape
    weight: Tensor
    bias: Tensor

    def rounded(self, dtype: torch.dtype) -> "Kernel":
        """Round the weights to a type; the result is still float64."""
        weight, bias = (each.to(dtype).double() for each in (self.weight, self.bias))
        return Kernel(self.shape, weight, bias)

    def __call__(self, maps: Tensor) -> Tensor:
        """Convolve float64 feature maps (batch, inputs, size of each axis)."""
        shape = self.shape
        pads = [each for pair in zip(shape.before, shape.after, strict=True) for each in pair[::-1]]
        around = functional.pad(maps, pads[::-1])
        if shape.inputs == shape.outputs == shape.groups:
            return self._depthwise(around)
        convolve = _CONVOLUTIONS[len(shape.taps)]
        return convolve(
            around, self.weight, self.bias, shape.stride, 0, shape.dilation, shape.groups
        )

    def _depthwise(self, around: Tensor) -> Tensor:
        """Convolve tap by tap, because torch's kernel is ten times slower in float64."""
        axes = (1,) * len(self.shape.taps)
        spans = [
            _spans(size, taps, step, stride)
            for size, taps, step, stride in zip(
                around.shape[2:],
                self.shape.taps,
                self.shape.dilation,
                self.shape.stride,
                strict=True,
            )
        ]
        sums: Tensor | None = None
        for places, weight in zip(
            itertools.product(*spans), self.weight.flatten(1).unbind(1), strict=True
        ):
            product = around[:, :, *places] * weight.reshape(-1, *axes)
            sums = product if sums is None else sums.add_(product)
        assert sums is not None
        return sums + self.bias.reshape(-1, *axes)


def diagonal(factor: Tensor, bias: Tensor, axes: int) -> Kernel:
    """Write a factor and a bias per channel as a convolution.

    Args:
        factor: (channels).
        bias: (channels).
        axes: number of spatial axes.
    """
    weight = factor.double().reshape(-1, 1, *(1,) * axes)
    return Kernel(pointwise(len(factor), axes), weight, bias.double())


def identity(channels: int, axes: int) -> Kernel:
    """A convolution that returns its input."""
    ones = torch.ones(channels, dtype=torch.float64)
    return diagonal(ones, torch.zeros_like(ones), axes)


def chain(second: Kernel, first: Kernel, shape: Shape) -> Kernel:
    """Merge a convolution of a convolution.

    Args:
        second: the convolution that runs last.
        first: the convolution that reads the source.
        shape: the result of ``shapes.chained`` for both.
    """
    if second.shape.is_diagonal:
        factor = second.weight.flatten()
        weight = first.weight * factor.reshape(-1, *(1,) * (first.weight.ndim - 1))
        return Kernel(shape, weight, second.bias + factor * first.bias)
    bias = second.bias
    if first.bias.any():
        tap_sums = second.weight.flatten(2).sum(2)  # (outputs, middle / groups)
        bias = bias + (tap_sums * _of_inputs(first.bias, second.shape)).sum(1)
    if first.shape.is_diagonal:
        factor = _of_inputs(first.weight.flatten(), second.shape)
        axes = (1,) * len(shape.taps)
        return Kernel(shape, second.weight * factor.reshape(*factor.shape, *axes), bias)
    # (group, outputs, middle, taps) and (group, middle, inputs, taps of each axis)
    left, right = _blocks(second, shape.groups).flatten(3), _blocks(first, shape.groups)
    weight = _empty(shape)
    of_first = [
        each.dilation // lattice if each.taps > 1 else 1
        for each, lattice in _axes(first.shape, shape.dilation)
    ]
    starts = [
        [tap * first.shape.stride[axis] * each.dilation // lattice for tap in range(each.taps)]
        for axis, (each, lattice) in enumerate(_axes(second.shape, shape.dilation))
    ]
    places = itertools.product(*(range(taps) for taps in second.shape.taps))
    for index, tap in enumerate(places):
        # (group, outputs, middle) x (group, middle, inputs * taps of the first)
        product = left[..., index] @ right.flatten(2)
        start = [starts[axis][each] for axis, each in enumerate(tap)]
        place = _place(weight, start, of_first, first.shape.taps)
        place += product.reshape(*product.shape[:2], *right.shape[2:])
    return Kernel(shape, weight.flatten(0, 1), bias)


def add(kernels: Sequence[Kernel], shape: Shape) -> Kernel:
    """Merge a sum of convolutions of one input.

    Args:
        kernels: at least one.
        shape: the result of ``shapes.summed`` for their shapes.
    """
    if [kernel.shape for kernel in kernels] == [shape]:
        return kernels[0]
    weight = _empty(shape)
    for kernel in kernels:
        ours = kernel.shape
        start = [
            (first - lowest) // step
            for first, lowest, step in zip(ours.first, shape.first, shape.dilation, strict=True)
        ]
        steps = [
            each.dilation // step if each.taps > 1 else 1
            for each, step in _axes(ours, shape.dilation)
        ]
        place = _place(weight, start, steps, ours.taps)
        place += _blocks(kernel, shape.groups)
    bias = torch.stack([kernel.bias for kernel in kernels]).sum(0)
    return Kernel(shape, weight.flatten(0, 1), bias)


@dataclass(frozen=True)
class _Axis:
    taps: int
    dilation: int


def _axes(shape: Shape, steps: Sequence[int]) -> list[tuple[_Axis, int]]:
    axes = (_Axis(*each) for each in zip(shape.taps, shape.dilation, strict=True))
    return list(zip(axes, steps, strict=True))


def _spans(size: int, taps: int, dilation: int, stride: int) -> list[slice]:
    """The slice of an axis that each tap reads, for all outputs."""
    count = (size - dilation * (taps - 1) - 1) // stride + 1
    length = (count - 1) * stride + 1
    return [slice(start, start + length, stride) for start in range(0, dilation * taps, dilation)]


def _place(
    weight: Tensor, start: Sequence[int], steps: Sequence[int], taps: Sequence[int]
) -> Tensor:
    """A view of the part of a kernel's weights where the taps of another kernel lie."""
    for axis, (first, step, count) in enumerate(zip(start, steps, taps, strict=True), -len(taps)):
        length = step * (count - 1) + 1
        weight = weight.narrow(axis, first, length).movedim(axis, 0)[::step].movedim(0, axis)
    return weight


def _of_inputs(numbers: Tensor, shape: Shape) -> Tensor:
    """Repeat numbers per input to match the weights: (inputs) to (outputs, inputs / groups)."""
    per_group = numbers.reshape(shape.groups, -1)
    return per_group.repeat_interleave(shape.outputs // shape.groups, 0)


def _empty(shape: Shape) -> Tensor:
    """Zero weights (group, outputs, inputs, taps)."""
    groups = shape.groups
    channels = (groups, shape.outputs // groups, shape.inputs // groups)
    return torch.zeros(*channels, *shape.taps, dtype=torch.float64)


def _blocks(kernel: Kernel, groups: int) -> Tensor:
    """Weights in coarser groups (group, outputs, inputs, taps), with zeros between finer ones."""
    shape, weight = kernel.shape, kernel.weight
    fine = shape.groups // groups
    # (group, finer group, outputs, inputs, taps)
    split = weight.reshape(groups, fine, -1, *weight.shape[1:])
    if fine == 1:
        return split[:, 0]
    outputs, inputs = split.shape[2:4]
    blocks = weight.new_zeros(groups, fine, outputs, fine, inputs, *shape.taps)
    each = torch.arange(fine)
    blocks[:, each, :, each] = split.transpose(0, 1)
    return blocks.reshape(groups, fine * outputs, fine * inputs, *shape.taps)
