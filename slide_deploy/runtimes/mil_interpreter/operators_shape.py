"""Operators that rearrange elements and compute none."""

import torch
from torch import Tensor

from slide_deploy.runtimes.mil_interpreter.call import Call

# The operator set, iOS 17, in which a 0 in a new shape is counted from the last axis.
_ZEROS_FROM_THE_BACK = 7


def reshape(call: Call) -> Tensor:
    """``x`` in a new shape: 0 keeps the size of ``x``, -1 takes what is left.

    A 0 stands for the size at the same place; since iOS 17 places are counted from the last axis,
    and a place that ``x`` does not have counts as 1.
    """
    x, shape = call.tensor("x"), call.integers("shape")
    if 0 in shape and call.opset < _ZEROS_FROM_THE_BACK and len(shape) != x.dim():
        raise call.faulty(f"keeps sizes of rank {x.dim()} in shape {shape}")
    old = [1] * max(len(shape) - x.dim(), 0) + list(x.shape)
    kept = old[len(old) - len(shape) :]
    return x.reshape([size or place for size, place in zip(shape, kept, strict=True)])


def transpose(call: Call) -> Tensor:
    """The axes in the order of ``perm``."""
    x = call.tensor("x")
    return x.permute([call.from_front(axis, x.dim()) for axis in call.integers("perm")])


def expand_dims(call: Call) -> Tensor:
    """New axes of size 1, at these places of the result."""
    x = call.tensor("x")
    for axis in call.axes("axes", x.dim() + len(call.integers("axes"))):
        x = x.unsqueeze(axis)
    return x


def squeeze(call: Call) -> Tensor:
    """Without these axes, as far as their size is 1; by default without all such axes."""
    x = call.tensor("x")
    axes = call.axes("axes", x.dim(), range(x.dim()))
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes or size != 1])


def concat(call: Call) -> Tensor:
    """Tensors behind each other along an axis, or their slices in turn if interleaved."""
    values = _alike(call)
    if values[0].dim() == 0:
        return torch.stack(values)
    axis = call.axis("axis", values[0].dim())
    call.make_room([sum(value.numel() for value in values)])
    if not call.flag("interleave"):
        return torch.cat(values, axis)
    # (..., size, tensor, ...) -> (..., size * tensors, ...)
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def stack(call: Call) -> Tensor:
    """Tensors of one shape along a new axis."""
    values = _alike(call)
    call.make_room([sum(value.numel() for value in values)])
    return torch.stack(values, call.axis("axis", values[0].dim() + 1))


def split(call: Call) -> list[Tensor]:
    """Parts along an axis, of the given sizes or of equal ones."""
    x = call.tensor("x")
    axis = call.axis("axis", x.dim())
    if call.has("split_sizes"):
        return list(torch.split_with_sizes(x, call.integers("split_sizes"), axis))
    parts = call.integer("num_splits")
    if parts < 1 or x.shape[axis] % parts:
        raise call.faulty(f"divides {x.shape[axis]} into {parts} parts")
    return list(x.chunk(parts, axis))


def tile(call: Call) -> Tensor:
    """Copies of ``x`` beside each other, so many along each axis."""
    x, counts = call.tensor("x"), call.integers("reps")
    if len(counts) != x.dim() or min(counts, default=1) < 1:
        raise call.faulty(f"repeats rank {x.dim()} by {counts}")
    call.make_room(size * count for size, count in zip(x.shape, counts, strict=True))
    return x.repeat(counts)


def shape(call: Call) -> Tensor:
    """The sizes of ``x`` as integers, shape (rank,)."""
    return torch.tensor(call.tensor("x").shape, dtype=torch.int32)


def fill(call: Call) -> Tensor:
    """One value, 0 by default, everywhere in a tensor of the given shape."""
    sizes = call.integers("shape")
    call.make_room(sizes)
    value = call.tensor("value") if call.has("value") else torch.tensor(0.0)
    return value.reshape(()).expand(sizes)


def pixel_shuffle(call: Call) -> Tensor:
    """Channels into space: (batch, C f^2, height, width) to (batch, C, height f, width f)."""
    return torch.pixel_shuffle(call.tensor("x"), call.integer("upscale_factor"))


def _alike(call: Call) -> list[Tensor]:
    """The list parameter of tensors of one type and rank."""
    values = call.tensors("values")
    if len({(value.dtype, value.dim()) for value in values}) != 1:
        raise call.faulty("needs tensors of one type and rank")
    return values
