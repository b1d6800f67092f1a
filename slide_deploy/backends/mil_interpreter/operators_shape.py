"""Operators that rearrange elements, and those that create tensors from shapes."""

import math

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

# Since this operator set, iOS 17, a 0 in a new shape is matched from the last axis.
_ZEROS_FROM_THE_BACK = 7


def reshape(call: OperatorCall) -> Tensor:
    """``x`` in a new shape: 0 keeps the size of ``x``, -1 is inferred.

    A 0 is replaced by the size at the same index. Since iOS 17 the index is counted from the last
    axis, and a 0 without a corresponding axis of ``x`` becomes 1.
    """
    x, shape = call.tensor("x"), call.integers("shape")
    if 0 in shape and call.opset < _ZEROS_FROM_THE_BACK and len(shape) != x.dim():
        raise call.faulty(f"keeps sizes of rank {x.dim()} in shape {shape}")
    old = [1] * max(len(shape) - x.dim(), 0) + list(x.shape)
    kept = old[len(old) - len(shape) :]
    return x.reshape([size or place for size, place in zip(shape, kept, strict=True)])


def transpose(call: OperatorCall) -> Tensor:
    """The axes in the order of ``perm``."""
    x = call.tensor("x")
    return x.permute([call.from_front(axis, x.dim()) for axis in call.integers("perm")])


def expand_dims(call: OperatorCall) -> Tensor:
    """Insert axes of size 1 at these indices of the result."""
    x = call.tensor("x")
    for axis in call.axes("axes", x.dim() + len(call.integers("axes"))):
        x = x.unsqueeze(axis)
    return x


def squeeze(call: OperatorCall) -> Tensor:
    """Remove those of these axes whose size is 1; by default all such axes."""
    x = call.tensor("x")
    axes = call.axes("axes", x.dim(), range(x.dim()))
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes or size != 1])


def concat(call: OperatorCall) -> Tensor:
    """Concatenate along an axis; ``interleave`` alternates the tensors' slices."""
    values = _alike(call)
    if values[0].dim() == 0:
        return torch.stack(values)
    axis = call.axis("axis", values[0].dim())
    call.check_size([sum(value.numel() for value in values)])
    if not call.flag("interleave"):
        return torch.cat(values, axis)
    # (..., size, tensor, ...) -> (..., size * tensors, ...)
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def stack(call: OperatorCall) -> Tensor:
    """Stack tensors of one shape along a new axis."""
    values = _alike(call)
    call.check_size([sum(value.numel() for value in values)])
    return torch.stack(values, call.axis("axis", values[0].dim() + 1))


def split(call: OperatorCall) -> list[Tensor]:
    """Split along an axis into parts of the given sizes or of equal size."""
    x = call.tensor("x")
    axis = call.axis("axis", x.dim())
    if call.has("split_sizes"):
        return list(torch.split_with_sizes(x, call.integers("split_sizes"), axis))
    parts = call.integer("num_splits")
    if parts < 1 or x.shape[axis] % parts:
        raise call.faulty(f"divides {x.shape[axis]} into {parts} parts")
    return list(x.chunk(parts, axis))


def tile(call: OperatorCall) -> Tensor:
    """Repeat ``x`` along each axis."""
    x, counts = call.tensor("x"), call.integers("reps")
    if len(counts) != x.dim() or min(counts, default=0) < 0:
        raise call.faulty(f"repeats rank {x.dim()} by {counts}")
    call.check_size(size * count for size, count in zip(x.shape, counts, strict=True))
    return x.repeat(counts)


def shape(call: OperatorCall) -> Tensor:
    """The sizes of ``x`` as integers, shape (rank,)."""
    return torch.tensor(call.tensor("x").shape, dtype=torch.int32)


def fill(call: OperatorCall) -> Tensor:
    """A tensor of the given shape filled with one value, by default 0."""
    sizes = call.integers("shape")
    call.check_size(sizes)
    value = call.tensor("value") if call.has("value") else torch.tensor(0.0)
    return value.reshape(()).expand(sizes)


def fill_like(call: OperatorCall) -> Tensor:
    """A tensor of another's shape filled with one value, by default 0."""
    value = call.tensor("value") if call.has("value") else torch.tensor(0.0)
    return value.reshape(()).expand(call.tensor("ref_tensor").shape)


def range_1d(call: OperatorCall) -> Tensor:
    """The numbers from ``start`` in steps of ``step``, without ``end``."""
    start, end, step = (call.tensor(name).reshape(()) for name in ("start", "end", "step"))
    count = max(math.ceil((end.item() - start.item()) / step.item()), 0)
    call.check_size([count])
    return start + step * torch.arange(count)


def reverse(call: OperatorCall) -> Tensor:
    """Reverse the elements along these axes, by default along all."""
    x = call.tensor("x")
    return x.flip(call.axes("axes", x.dim(), range(x.dim())))


def band_part(call: OperatorCall) -> Tensor:
    """Keep a band around the diagonal of each matrix in the last two axes; set the rest to 0.

    ``lower`` is the number of kept diagonals below, ``upper`` above; a negative number keeps all.
    """
    x, lower, upper = call.tensor("x"), call.integer("lower", -1), call.integer("upper", -1)
    if x.dim() < 2:
        raise call.faulty("needs matrices")
    above = torch.arange(x.shape[-1]) - torch.arange(x.shape[-2])[:, None]  # (rows, columns)
    kept = torch.ones_like(above, dtype=torch.bool)
    if lower >= 0:
        kept &= above >= -lower
    if upper >= 0:
        kept &= above <= upper
    return torch.where(kept, x, torch.zeros((), dtype=x.dtype))


def pixel_shuffle(call: OperatorCall) -> Tensor:
    """Channels into space: (n, C f f, H, W) to (n, C, H f, W f).

    The f f channels of one pixel are adjacent.
    """
    return torch.pixel_shuffle(_feature_map(call), _factor(call, "upscale_factor"))


def pixel_unshuffle(call: OperatorCall) -> Tensor:
    """The reverse of ``pixel_shuffle``: (n, C, H f, W f) to (n, C f f, H, W)."""
    return torch.pixel_unshuffle(_feature_map(call), _factor(call, "downscale_factor"))


def crop(call: OperatorCall) -> Tensor:
    """The last two axes without the given numbers of elements at each end."""
    x, height, width = call.tensor("x"), call.integers("crop_height"), call.integers("crop_width")
    amounts = (*width, *height)
    if x.dim() < 2 or not len(height) == len(width) == 2 or min(amounts) < 0:
        raise call.faulty(f"cuts off {height} and {width}")
    if sum(height) > x.shape[-2] or sum(width) > x.shape[-1]:
        raise call.faulty(f"cuts off {height} and {width} of {tuple(x.shape)}")
    return torch.nn.functional.pad(x, [-amount for amount in amounts])


def _feature_map(call: OperatorCall) -> Tensor:
    x = call.tensor("x")
    if x.dim() != 4:
        raise call.faulty(f"needs a feature map of rank 4, not {x.dim()}")
    return x


def _factor(call: OperatorCall, name: str) -> int:
    factor = call.integer(name)
    if not 1 <= factor <= max(call.tensor("x").shape):
        raise call.faulty(f"has {name} {factor}")
    return factor


def _alike(call: OperatorCall) -> list[Tensor]:
    """Return the parameter ``values``, and refuse tensors of several types or ranks."""
    values = call.tensors("values")
    if len({(value.dtype, value.dim()) for value in values}) != 1:
        raise call.faulty("needs tensors of one type and rank")
    return values


OPERATORS: Operators = {
    "band_part": Operator(band_part, ("x",), ("lower", "upper")),
    "concat": Operator(concat, ("values", "axis"), ("interleave",)),
    "crop": Operator(crop, ("x", "crop_height", "crop_width")),
    "expand_dims": Operator(expand_dims, ("x", "axes")),
    "fill": Operator(fill, ("shape",), ("value",)),
    "fill_like": Operator(fill_like, ("ref_tensor",), ("value",)),
    "pixel_shuffle": Operator(pixel_shuffle, ("x", "upscale_factor")),
    "pixel_unshuffle": Operator(pixel_unshuffle, ("x", "downscale_factor")),
    "range_1d": Operator(range_1d, ("start", "end", "step")),
    "reshape": Operator(reshape, ("x", "shape")),
    "reverse": Operator(reverse, ("x",), ("axes",)),
    "shape": Operator(shape, ("x",)),
    "split": Operator(split, ("x", "axis"), ("num_splits", "split_sizes")),
    "squeeze": Operator(squeeze, ("x",), ("axes",)),
    "stack": Operator(stack, ("values", "axis")),
    "tile": Operator(tile, ("x", "reps")),
    "transpose": Operator(transpose, ("x", "perm")),
}
