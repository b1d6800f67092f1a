"""Operators that select elements by position, and padding, which is computed the same way."""

import numpy as np
import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators
from slide_deploy.backends.mil_interpreter.windows import pad_constant

# The operator set, iOS 17, since which negative indices are out of range.
_NO_NEGATIVE_INDICES = 7
_EDGE_MODES = {"reflect": "reflect", "replicate": "edge"}


def slice_by_index(call: OperatorCall) -> Tensor:
    """``x[begin:end:stride]`` on every axis, with the rules of Python.

    A mask replaces a bound by the start or the end of the axis, in the direction of the stride. A
    squeezed axis is indexed at ``begin`` and removed.
    """
    return sliced(call, call.tensor("x"))


def sliced(call: OperatorCall, x: Tensor) -> Tensor:
    """Slice x by the parameters of ``slice_by_index``."""
    rank = x.dim()
    begin, end = call.integers("begin"), call.integers("end")
    stride = call.integers("stride", [1] * rank)
    if not len(begin) == len(end) == len(stride) == rank or 0 in stride:
        raise call.faulty(f"slices rank {rank} by {begin}, {end}, {stride}")
    from_start, to_end = call.flags("begin_mask", rank), call.flags("end_mask", rank)
    squeezed = call.flags("squeeze_mask", rank)
    for axis in reversed(range(rank)):
        if squeezed[axis]:
            place = 0 if from_start[axis] else call.from_front(begin[axis], x.shape[axis])
            x = x.select(axis, place)
        else:
            bounds = slice(
                None if from_start[axis] else begin[axis],
                None if to_end[axis] else end[axis],
                stride[axis],
            )
            x = _sliced(x, axis, bounds)
    return x


def slice_by_size(call: OperatorCall) -> Tensor:
    """``size`` elements from ``begin`` on every axis; -1 takes all the rest."""
    x, begin, size = call.tensor("x"), call.integers("begin"), call.integers("size")
    if not len(begin) == len(size) == x.dim():
        raise call.faulty(f"slices rank {x.dim()} by {begin}, {size}")
    for axis, (start, count) in enumerate(zip(begin, size, strict=True)):
        first = start if start >= 0 else start + x.shape[axis]
        x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
    return x


def gather(call: OperatorCall) -> Tensor:
    """Slices of ``x`` along an axis, which is replaced by the axes of ``indices``.

    The first ``batch_dims`` axes are shared by both, and appear once in the output.
    """
    x = call.tensor("x")
    axis, batch = call.axis("axis", x.dim(), 0), call.integer("batch_dims", 0)
    indices = _indices(call, x.shape[axis])
    if not 0 <= batch <= min(axis, indices.dim()) or x.shape[:batch] != indices.shape[:batch]:
        raise call.faulty(f"has {batch} batch axes for {tuple(x.shape)}, {tuple(indices.shape)}")
    result = (*x.shape[:axis], *indices.shape[batch:], *x.shape[axis + 1 :])
    call.check_size(result)
    slices = [
        part.index_select(axis - batch, chosen.reshape(-1))
        for part, chosen in zip(
            x.reshape(-1, *x.shape[batch:]),
            indices.reshape(-1, *indices.shape[batch:]),
            strict=True,
        )
    ]
    return torch.stack(slices).reshape(result)


def gather_along_axis(call: OperatorCall) -> Tensor:
    """Along one axis, the element at each of ``indices``, which has the shape of the output."""
    return along_axis(call, call.tensor("x"))


def along_axis(call: OperatorCall, x: Tensor) -> Tensor:
    """Select the elements of x at ``indices`` along ``axis``, one index per element."""
    axis = call.axis("axis", x.dim(), 0)
    return x.gather(axis, _indices(call, x.shape[axis]))


def slices_along_axis(call: OperatorCall, x: Tensor) -> Tensor:
    """Select the slices of x at the vector ``indices`` along ``axis``."""
    axis = call.axis("axis", x.dim(), 0)
    return x.index_select(axis, _indices(call, x.shape[axis]))


def gather_nd(call: OperatorCall) -> Tensor:
    """Slices of ``x`` whose first coordinates are the last axis of ``indices``.

    The first ``batch_dims`` axes are shared by both.
    """
    x, batch = call.tensor("x"), call.integer("batch_dims", 0)
    if batch == 0:
        return at_coordinates(call, x, call.tensor("indices"))
    indices = call.tensor("indices")
    if not 0 < batch < min(x.dim(), indices.dim()) or x.shape[:batch] != indices.shape[:batch]:
        raise call.faulty(f"has {batch} batch axes for {tuple(x.shape)}, {tuple(indices.shape)}")
    slices = [
        at_coordinates(call, part, chosen)
        for part, chosen in zip(
            x.reshape(-1, *x.shape[batch:]),
            indices.reshape(-1, *indices.shape[batch:]),
            strict=True,
        )
    ]
    return torch.stack(slices).reshape(*x.shape[:batch], *slices[0].shape)


def at_coordinates(call: OperatorCall, x: Tensor, given: Tensor) -> Tensor:
    """Select the slices of x whose first coordinates are the last axis of ``given``."""
    depth = given.shape[-1] if given.dim() else 0
    if not 1 <= depth <= x.dim():
        raise call.faulty(f"has {depth} coordinates for rank {x.dim()}")
    call.check_size((*given.shape[:-1], *x.shape[depth:]))
    coordinates = [_wrapped(call, given[..., axis], x.shape[axis]) for axis in range(depth)]
    return x[tuple(coordinates)]


def pad(call: OperatorCall) -> Tensor:
    """Add elements before and after the last axes: a constant, or elements of ``x``.

    ``reflect`` mirrors ``x`` at its border element, ``replicate`` repeats that element.
    """
    x, flat = call.tensor("x"), call.integers("pad")
    if len(flat) % 2 or len(flat) > 2 * x.dim() or min(flat, default=0) < 0:
        raise call.faulty(f"has pad {flat} for rank {x.dim()}")
    padding = list(zip(flat[::2], flat[1::2], strict=True))
    mode = call.text("mode", "constant")
    if mode == "constant":
        return pad_constant(call, x, padding, call.number("constant_val", 0.0))
    if mode not in _EDGE_MODES:
        raise call.unsupported(f"mode {mode}")
    for axis, amounts in enumerate(padding, start=x.dim() - len(padding)):
        x = _extended(call, x, axis, amounts, mode)
    return x


def _sliced(x: Tensor, axis: int, bounds: slice) -> Tensor:
    picked = range(*bounds.indices(x.shape[axis]))
    if picked.step > 0:
        every = slice(picked.start, picked.stop, picked.step)
        return x[(slice(None),) * axis + (every,)]
    return x.index_select(axis, torch.tensor(picked, dtype=torch.int64))


def _extended(
    call: OperatorCall, x: Tensor, axis: int, amounts: tuple[int, int], mode: str
) -> Tensor:
    size = x.shape[axis]
    if max(amounts) > (size - 1 if mode == "reflect" else size):
        raise call.faulty(f"pads {size} elements by {amounts} in mode {mode}")
    call.check_size((*x.shape[:axis], size + sum(amounts), *x.shape[axis + 1 :]))
    places = np.pad(np.arange(size), amounts, _EDGE_MODES[mode])  # type: ignore[call-overload]
    return x.index_select(axis, torch.from_numpy(places))


def _indices(call: OperatorCall, size: int) -> Tensor:
    return _wrapped(call, call.tensor("indices"), size)


def _wrapped(call: OperatorCall, indices: Tensor, size: int) -> Tensor:
    """Check indices, and make negative ones non-negative if the operator set allows them."""
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise call.faulty("needs integers as indices")
    lowest = 0 if call.opset >= _NO_NEGATIVE_INDICES else -size
    wide = indices.to(torch.int64)
    if wide.numel() and not lowest <= int(wide.min()) <= int(wide.max()) < size:
        raise call.faulty(f"has an index outside 0 to {size - 1}")
    return torch.where(wide < 0, wide + size, wide)


_SLICE = ("stride", "begin_mask", "end_mask", "squeeze_mask")

OPERATORS: Operators = {
    "gather": Operator(gather, ("x", "indices"), ("axis", "batch_dims", "validate_indices")),
    "gather_along_axis": Operator(
        gather_along_axis, ("x", "indices"), ("axis", "validate_indices")
    ),
    "gather_nd": Operator(gather_nd, ("x", "indices"), ("batch_dims", "validate_indices")),
    "pad": Operator(pad, ("x", "pad"), ("mode", "constant_val")),
    "slice_by_index": Operator(slice_by_index, ("x", "begin", "end"), _SLICE),
    "slice_by_size": Operator(slice_by_size, ("x", "begin", "size")),
}
