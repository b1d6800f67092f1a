"""Pooling; x (batch, channel, ...space)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators
from slide_deploy.backends.mil_interpreter.windows import (
    Windows,
    pad_constant,
    read_padding,
    read_windows,
)

_AVERAGES: tuple[Callable[..., Tensor], ...] = (
    functional.avg_pool1d,
    functional.avg_pool2d,
    functional.avg_pool3d,
)
_MAXIMA: tuple[Callable[..., Tensor], ...] = (
    functional.max_pool1d,
    functional.max_pool2d,
    functional.max_pool3d,
)


def avg_pool(call: OperatorCall) -> Tensor:
    """The mean of each window, in which padding counts as zeros or is excluded."""
    x, windows = _operands(call)
    average = _AVERAGES[windows.rank - 1]
    excluded = call.flag("exclude_padding_from_average")
    if call.flag("ceil_mode"):
        return average(
            x,
            windows.kernel,
            windows.strides,
            _symmetric(call, windows, x),
            ceil_mode=True,
            count_include_pad=not excluded,
        )
    padding = read_padding(call, windows, x.shape[2:])
    total = average(pad_constant(call, x, padding, 0.0), windows.kernel, windows.strides)
    if not excluded:
        return total
    # The mean of ones is the share of the window that is not padding.
    ones = pad_constant(call, torch.ones_like(x), padding, 0.0)
    return total / average(ones, windows.kernel, windows.strides)


def max_pool(call: OperatorCall) -> Tensor:
    """The largest element of each window, in which padding is minus infinity."""
    x, windows = _operands(call)
    maximum = _MAXIMA[windows.rank - 1]
    if call.flag("ceil_mode"):
        padding = _symmetric(call, windows, x)
        return maximum(x, windows.kernel, windows.strides, padding, ceil_mode=True)
    padded = pad_constant(call, x, read_padding(call, windows, x.shape[2:]), -math.inf)
    return maximum(padded, windows.kernel, windows.strides)


def _operands(call: OperatorCall) -> tuple[Tensor, Windows]:
    x = call.tensor("x")
    return x, read_windows(call, call.integers("kernel_sizes"), x.dim() - 2)


def _symmetric(call: OperatorCall, windows: Windows, x: Tensor) -> tuple[int, ...]:
    """Return the padding of each side; ``ceil_mode`` requires it to be the same on both sides."""
    padding = read_padding(call, windows, x.shape[2:])
    if any(before != after for before, after in padding):
        raise call.unsupported("ceil_mode and unequal padding")
    return tuple(before for before, _ in padding)


_WINDOWS = ("strides", "pad_type", "pad", "ceil_mode")

OPERATORS: Operators = {
    "avg_pool": Operator(
        avg_pool, ("x", "kernel_sizes"), (*_WINDOWS, "exclude_padding_from_average")
    ),
    "max_pool": Operator(max_pool, ("x", "kernel_sizes"), _WINDOWS),
}
