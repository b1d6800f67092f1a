"""Operators that resize feature maps by factors."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

# The torch frontend of coremltools adds this to a size before it divides, to avoid rounding down.
_SIZE_MARGIN = 1e-4


def upsample_nearest_neighbor(call: OperatorCall) -> Tensor:
    """Resize the last two axes by factors: element i of Y is element ``floor(i X / Y)`` of X.

    Sizes are rounded down. With the factor f, the element could also be ``floor(i / f)``. A program
    for which the two differ is refused, because MIL does not define which one it is.
    """
    x = call.tensor("x")
    factors = _factors(call, x)
    sizes = _checked(call, x, _scaled_sizes(x, factors))
    for size, result, factor in zip(x.shape[-2:], sizes, factors, strict=True):
        exact = abs(size * factor - result) <= 2 * _SIZE_MARGIN
        places = torch.arange(result, dtype=torch.float64)
        if not exact and not torch.equal(
            (places * size / result).floor(), (places / factor).floor()
        ):
            raise call.unsupported(f"the factor {factor} of {size} elements")
    for axis, size in enumerate(sizes, start=x.dim() - 2):
        x = x.index_select(axis, torch.arange(size) * x.shape[axis] // size)
    return x


def upsample_bilinear(call: OperatorCall) -> Tensor:
    """Resize the last two axes by factors and linear interpolation; sizes are rounded down.

    With X elements of an axis before and Y after, element i is at ``i (X - 1) / (Y - 1)`` if
    corners are aligned, which is the default, and at ``(i + 1/2) X / Y - 1/2`` otherwise. Points
    outside the axis are moved to its ends.
    """
    x = call.tensor("x")
    aligned = call.flag("align_corners") if call.has("align_corners") else True
    if call.has("half_pixel_centers") and call.flag("half_pixel_centers") == aligned:
        raise call.unsupported("align_corners equal to half_pixel_centers")
    if not x.is_floating_point():
        raise call.unsupported("integers")
    sizes = _checked(call, x, _scaled_sizes(x, _factors(call, x)))
    maps = x.double().reshape(1, -1, *x.shape[-2:])
    resized = functional.interpolate(maps, sizes, mode="bilinear", align_corners=aligned)
    return resized.to(x.dtype).reshape(*x.shape[:-2], *sizes)


def _checked(call: OperatorCall, x: Tensor, sizes: list[int]) -> list[int]:
    if x.dim() < len(sizes) or min(sizes, default=1) < 1 or x.numel() == 0:
        raise call.faulty(f"scales {tuple(x.shape)} to {sizes}")
    first = x.dim() - len(sizes)
    # Axes are resized one after the other, and an intermediate may be larger than the result.
    call.check_size([*x.shape[:first], *map(max, sizes, x.shape[first:])])
    return sizes


def _factors(call: OperatorCall, x: Tensor) -> tuple[float, float]:
    factors = call.number("scale_factor_height", 1), call.number("scale_factor_width", 1)
    if x.dim() < 3 or not all(0 < factor < math.inf for factor in factors):
        raise call.faulty(f"scales rank {x.dim()} by {factors}")
    return factors


def _scaled_sizes(x: Tensor, factors: tuple[float, float]) -> list[int]:
    # In float32, like the sizes that the file declares: 5 times 1.4 is 7 there, but less in
    # float64.
    return [
        math.floor(np.float32(factor) * np.float32(size))
        for size, factor in zip(x.shape[-2:], factors, strict=True)
    ]


_FACTORS = ("scale_factor_height", "scale_factor_width")

OPERATORS: Operators = {
    "upsample_bilinear": Operator(
        upsample_bilinear, ("x",), (*_FACTORS, "align_corners", "half_pixel_centers")
    ),
    "upsample_nearest_neighbor": Operator(upsample_nearest_neighbor, ("x",), _FACTORS),
}
