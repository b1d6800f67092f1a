"""Pools and upsampling; x (batch, channel, ...space)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.runtimes.mil_interpreter.call import Call
from slide_deploy.runtimes.mil_interpreter.windows import (
    Windows,
    pad_map,
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


def avg_pool(call: Call) -> Tensor:
    """The mean of each window; padding counts as zeros, or not at all if it is excluded."""
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
    total = average(pad_map(call, x, padding, 0.0), windows.kernel, windows.strides)
    if not excluded:
        return total
    # The mean of ones is the share of the window that lies on the map.
    ones = pad_map(call, torch.ones_like(x), padding, 0.0)
    return total / average(ones, windows.kernel, windows.strides)


def max_pool(call: Call) -> Tensor:
    """The largest element of each window; padding never wins."""
    x, windows = _operands(call)
    maximum = _MAXIMA[windows.rank - 1]
    if call.flag("ceil_mode"):
        padding = _symmetric(call, windows, x)
        return maximum(x, windows.kernel, windows.strides, padding, ceil_mode=True)
    padded = pad_map(call, x, read_padding(call, windows, x.shape[2:]), -math.inf)
    return maximum(padded, windows.kernel, windows.strides)


def upsample_nearest_neighbor(call: Call) -> Tensor:
    """Each element of the last two axes repeated, by whole factors."""
    x = call.tensor("x")
    height = call.number("scale_factor_height", 1)
    width = call.number("scale_factor_width", 1)
    if x.dim() < 3 or not height.is_integer() or not width.is_integer():
        raise call.unsupported(f"factors {height} and {width} on rank {x.dim()}")
    call.make_room((*x.shape[:-2], x.shape[-2] * int(height), x.shape[-1] * int(width)))
    return x.repeat_interleave(int(height), -2).repeat_interleave(int(width), -1)


def upsample_bilinear(call: Call) -> Tensor:
    """Linear interpolation along the last two axes, by factors; sizes are rounded down.

    Sample i of Y, from X elements, lies at ``i (X - 1) / (Y - 1)`` with aligned corners, else at
    ``(i + 1/2) X / Y - 1/2``, limited to the map.
    """
    x = call.tensor("x")
    # MIL aligns the corners unless told otherwise.
    aligned = call.flag("align_corners") if call.has("align_corners") else True
    if call.has("half_pixel_centers") and call.flag("half_pixel_centers") == aligned:
        raise call.unsupported("align_corners equal to half_pixel_centers")
    if x.dim() not in (3, 4):
        raise call.unsupported(f"a tensor of rank {x.dim()}")
    factors = (call.number("scale_factor_height", 1), call.number("scale_factor_width", 1))
    sizes = [math.floor(size * factor) for size, factor in zip(x.shape[-2:], factors, strict=True)]
    call.make_room((*x.shape[:-2], *sizes))
    maps = x if x.dim() == 4 else x[None]
    result = functional.interpolate(maps, sizes, mode="bilinear", align_corners=aligned)
    return result.reshape(*x.shape[:-2], *sizes)


def _operands(call: Call) -> tuple[Tensor, Windows]:
    x = call.tensor("x")
    return x, read_windows(call, call.integers("kernel_sizes"), x.dim() - 2)


def _symmetric(call: Call, windows: Windows, x: Tensor) -> tuple[int, ...]:
    """The padding on either side; with ``ceil_mode`` both sides must be equal."""
    padding = read_padding(call, windows, x.shape[2:])
    if any(before != after for before, after in padding):
        raise call.unsupported("ceil_mode and unequal padding")
    return tuple(before for before, _ in padding)
