"""Operators that resize; each output element is at a point between input elements."""

import math

import numpy as np
import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

# The torch frontend of coremltools adds this to a size before it divides, to avoid rounding down.
_SIZE_MARGIN = 1e-4
_ALIGNED = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS")


def grid_points(call: OperatorCall, mode: str, first: float, last: float, count: int) -> Tensor:
    """Return the points of ``count`` output elements on an interval, shape (count,), float64.

    With X = last - first + 1, the size of the interval, and Y = count, the points are ``first``
    plus:

    - ``STRICT_ALIGN_CORNERS``: ``i (X - 1) / (Y - 1)``
    - ``ALIGN_CORNERS``: the same, but the middle if Y = 1
    - ``DEFAULT``: ``i X / Y``
    - ``OFFSET_CORNERS``: ``(i + 1/2) max(1, X - 1) / Y``
    - ``UNALIGN_CORNERS``: ``(i + 1/2) X / Y - 1/2``

    Points beyond the end of the interval are moved to its end.

    Raises:
        UnsupportedOperator: for another mode, or for a reversed interval in one of the last three.
    """
    span = last - first
    places = torch.arange(count, dtype=torch.float64)
    if mode == "ALIGN_CORNERS" and count == 1:
        points = places + span / 2
    elif mode in _ALIGNED:
        points = places * (span / max(count - 1, 1))
    elif span < 0:
        raise call.unsupported(f"a reversed box in mode {mode}")
    elif mode == "DEFAULT":
        points = places * ((span + 1) / count)
    elif mode == "OFFSET_CORNERS":
        points = (places + 0.5) * (max(1.0, span) / count)
    elif mode == "UNALIGN_CORNERS":
        points = (places + 0.5) * ((span + 1) / count) - 0.5
    else:
        raise call.unsupported(f"sampling_mode {mode}")
    return points.clamp(min(span, 0.0), max(span, 0.0)) + first


def interpolated(x: Tensor, axis: int, points: Tensor) -> Tensor:
    """Interpolate along an axis between the two elements around each point, which are in range."""
    before = points.floor().clamp(0, x.shape[axis] - 1)
    after = (before + 1).clamp(max=x.shape[axis] - 1)
    shape = [len(points) if place == axis else 1 for place in range(x.dim())]
    share = (points - before).to(x.dtype).reshape(shape)
    return x.index_select(axis, before.long()) * (1 - share) + (
        x.index_select(axis, after.long()) * share
    )


def resize(call: OperatorCall) -> Tensor:
    """Resize the last ``resized_dims`` axes to the last sizes of ``shape``; 0 keeps a size."""
    x, shape, count = call.tensor("x"), call.integers("shape"), call.integer("resized_dims")
    if not 0 <= count <= len(shape) <= x.dim():
        raise call.faulty(f"resizes {count} axes of rank {x.dim()} to {shape}")
    wanted = shape[len(shape) - count :]
    sizes = [size or old for size, old in zip(wanted, x.shape[x.dim() - count :], strict=True)]
    kind, mode = call.text("interpolation_mode", "LINEAR"), call.text("sampling_mode", "DEFAULT")
    if kind == "LINEAR":
        return _linear(call, x, sizes, mode)
    if kind != "NEAREST_NEIGHBOR":
        raise call.unsupported(f"interpolation_mode {kind}")
    for axis, size in enumerate(_checked(call, x, sizes), start=x.dim() - count):
        points = grid_points(call, mode, 0, x.shape[axis] - 1, size)
        if bool(((points % 1) == 0.5).any()):
            raise call.unsupported("a point halfway between two elements in NEAREST_NEIGHBOR")
        x = x.index_select(axis, points.round().long())
    return x


def resize_bilinear(call: OperatorCall) -> Tensor:
    """Resize the last two axes by linear interpolation."""
    sizes = [call.integer("target_size_height", 1), call.integer("target_size_width", 1)]
    return _linear(call, call.tensor("x"), sizes, call.text("sampling_mode", "DEFAULT"))


def resize_nearest_neighbor(call: OperatorCall) -> Tensor:
    """Resize the last two axes: element i of Y is element ``floor(i X / Y)`` of X."""
    sizes = [call.integer("target_size_height"), call.integer("target_size_width")]
    return _nearest(call, call.tensor("x"), sizes)


def upsample_nearest_neighbor(call: OperatorCall) -> Tensor:
    """As ``resize_nearest_neighbor``, by factors; sizes are rounded down.

    With the factor f, the element could also be ``floor(i / f)``. A program for which the two
    differ is refused, because MIL does not define which one it is.
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
    return _nearest(call, x, sizes)


def upsample_bilinear(call: OperatorCall) -> Tensor:
    """As ``resize_bilinear``, by factors; sizes are rounded down.

    Corners are aligned by default.
    """
    x = call.tensor("x")
    aligned = call.flag("align_corners") if call.has("align_corners") else True
    if call.has("half_pixel_centers") and call.flag("half_pixel_centers") == aligned:
        raise call.unsupported("align_corners equal to half_pixel_centers")
    mode = "STRICT_ALIGN_CORNERS" if aligned else "UNALIGN_CORNERS"
    return _linear(call, x, _scaled_sizes(x, _factors(call, x)), mode)


def _linear(call: OperatorCall, x: Tensor, sizes: list[int], mode: str) -> Tensor:
    """Resize the last axes one after the other by linear interpolation."""
    if not x.is_floating_point():
        raise call.unsupported("integers in LINEAR")
    for axis, size in enumerate(_checked(call, x, sizes), start=x.dim() - len(sizes)):
        x = interpolated(x, axis, grid_points(call, mode, 0, x.shape[axis] - 1, size))
    return x


def _nearest(call: OperatorCall, x: Tensor, sizes: list[int]) -> Tensor:
    for axis, size in enumerate(_checked(call, x, sizes), start=x.dim() - len(sizes)):
        x = x.index_select(axis, torch.arange(size) * x.shape[axis] // size)
    return x


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
    "resize": Operator(
        resize, ("x", "shape", "resized_dims"), ("interpolation_mode", "sampling_mode")
    ),
    "resize_bilinear": Operator(
        resize_bilinear, ("x",), ("target_size_height", "target_size_width", "sampling_mode")
    ),
    "resize_nearest_neighbor": Operator(
        resize_nearest_neighbor, ("x", "target_size_height", "target_size_width")
    ),
    "upsample_bilinear": Operator(
        upsample_bilinear, ("x",), (*_FACTORS, "align_corners", "half_pixel_centers")
    ),
    "upsample_nearest_neighbor": Operator(upsample_nearest_neighbor, ("x",), _FACTORS),
}
