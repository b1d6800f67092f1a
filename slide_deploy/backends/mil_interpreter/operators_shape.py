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


def flatten2d(call: OperatorCall) -> Tensor:
    """Flatten to two axes: all axes before ``axis``, and all from ``axis`` on."""
    x = call.tensor("x")
    axis = call.integer("axis", 1)
    first = axis if axis == x.dim() else call.from_front(axis, x.dim())
    return x.reshape(math.prod(x.shape[:first]), math.prod(x.shape[first:]))


def reshape_like(call: OperatorCall) -> Tensor:
    """``x`` in a shape that is concatenated from parts of other tensors' shapes."""
    x, others = call.tensor("x"), call.tensors("ref_tensors")
    begins, ends, to_end = (
        [part.item() for part in call.tensors(name)] for name in ("begins", "ends", "end_masks")
    )
    sizes: list[int] = []
    for other, begin, end, whole in zip(others, begins, ends, to_end, strict=True):
        sizes.extend(other.shape[int(begin) : None if whole else int(end)])
    return x.reshape(sizes)


def reverse(call: OperatorCall) -> Tensor:
    """Reverse the elements along these axes, by default along all."""
    x = call.tensor("x")
    return x.flip(call.axes("axes", x.dim(), range(x.dim())))


def reverse_sequence(call: OperatorCall) -> Tensor:
    """Reverse the first elements along ``seq_axis`` of each slice along ``batch_axis``.

    ``lengths`` is their number for each slice.
    """
    x, lengths = call.tensor("x"), call.integers("lengths")
    batch_axis = call.axis("batch_axis", x.dim(), 0)
    sequence_axis = call.axis("seq_axis", x.dim(), 0)
    size = x.shape[sequence_axis]
    if batch_axis == sequence_axis or len(lengths) != x.shape[batch_axis]:
        raise call.faulty(f"has {len(lengths)} lengths for {x.shape[batch_axis]} slices")
    if not all(0 <= length <= size for length in lengths):
        raise call.faulty(f"reverses more than {size} elements")
    axis = sequence_axis - (sequence_axis > batch_axis)
    slices = [
        torch.cat(
            [part.narrow(axis, 0, length).flip(axis), part.narrow(axis, length, size - length)],
            axis,
        )
        for part, length in zip(x.unbind(batch_axis), lengths, strict=True)
    ]
    return torch.stack(slices, batch_axis)


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


def _alike(call: OperatorCall) -> list[Tensor]:
    """Return the parameter ``values``, and refuse tensors of several types or ranks."""
    values = call.tensors("values")
    if len({(value.dtype, value.dim()) for value in values}) != 1:
        raise call.faulty("needs tensors of one type and rank")
    return values


OPERATORS: Operators = {
    "band_part": Operator(band_part, ("x",), ("lower", "upper")),
    "concat": Operator(concat, ("values", "axis"), ("interleave",)),
    "expand_dims": Operator(expand_dims, ("x", "axes")),
    "fill": Operator(fill, ("shape",), ("value",)),
    "fill_like": Operator(fill_like, ("ref_tensor",), ("value",)),
    "flatten2d": Operator(flatten2d, ("x",), ("axis",)),
    "range_1d": Operator(range_1d, ("start", "end", "step")),
    "reshape": Operator(reshape, ("x", "shape")),
    "reshape_like": Operator(reshape_like, ("x", "ref_tensors", "begins", "ends", "end_masks")),
    "reverse": Operator(reverse, ("x",), ("axes",)),
    "reverse_sequence": Operator(reverse_sequence, ("x", "lengths"), ("seq_axis", "batch_axis")),
    "shape": Operator(shape, ("x",)),
    "split": Operator(split, ("x", "axis"), ("num_splits", "split_sizes")),
    "squeeze": Operator(squeeze, ("x",), ("axes",)),
    "stack": Operator(stack, ("values", "axis")),
    "tile": Operator(tile, ("x", "reps")),
    "transpose": Operator(transpose, ("x", "perm")),
}
