"""Operators that write into a tensor by position; all other elements keep their values.

The positions to write are found by reading: a tensor of the same shape that holds the flat index of
each element is indexed as ``gather`` indexes the data.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators
from slide_deploy.backends.mil_interpreter.operators_indexing import (
    along_axis,
    at_coordinates,
    sliced,
    slices_along_axis,
)

# Unbuffered ufuncs, which apply every update even if several have the same position.
_MODES: Mapping[str, np.ufunc] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


def scatter(call: OperatorCall) -> Tensor:
    """Write ``updates`` to the slices along ``axis`` at the vector ``indices``."""
    return _scattered(call, slices_along_axis)


def scatter_along_axis(call: OperatorCall) -> Tensor:
    """Write each of ``updates`` to the element at its index in ``indices``, along one axis."""
    return _scattered(call, along_axis)


def scatter_nd(call: OperatorCall) -> Tensor:
    """Write ``updates`` to the slices whose first coordinates are the last axis of ``indices``."""
    return _scattered(
        call, lambda call, positions: at_coordinates(call, positions, call.tensor("indices"))
    )


def slice_update(call: OperatorCall) -> Tensor:
    """Replace a slice of ``x``, given as in ``slice_by_index``, by ``update``."""
    x = call.tensor("x")
    return _written(call, x, sliced(call, _flat_indices(x)), call.tensor("update"), "update")


def _scattered(call: OperatorCall, find: Callable[[OperatorCall, Tensor], Tensor]) -> Tensor:
    data, updates = call.tensor("data"), call.tensor("updates")
    return _written(call, data, find(call, _flat_indices(data)), updates, call.text("mode", "add"))


def _flat_indices(x: Tensor) -> Tensor:
    return torch.arange(x.numel()).reshape(x.shape)


def _written(
    call: OperatorCall, data: Tensor, positions: Tensor, updates: Tensor, mode: str
) -> Tensor:
    """Return the data after each update was combined with the element at its position."""
    if positions.shape != updates.shape or data.dtype != updates.dtype:
        raise call.faulty(f"writes {tuple(updates.shape)} to {tuple(positions.shape)}")
    if mode != "update" and (mode not in _MODES or data.dtype == torch.bool):
        raise call.unsupported(f"mode {mode}")
    if mode == "div" and not data.is_floating_point():
        raise call.unsupported("mode div of integers")
    result = data.numpy().copy().reshape(-1)
    where, what = positions.numpy().reshape(-1), updates.numpy().reshape(-1)
    if mode == "update":
        result[where] = what
    else:
        _MODES[mode].at(result, where, what)
    return torch.from_numpy(result).reshape(data.shape)


_DATA = ("data", "indices", "updates")

OPERATORS: Operators = {
    "scatter": Operator(scatter, _DATA, ("axis", "mode", "validate_indices")),
    "scatter_along_axis": Operator(scatter_along_axis, _DATA, ("axis", "mode", "validate_indices")),
    "scatter_nd": Operator(scatter_nd, _DATA, ("mode", "validate_indices")),
    "slice_update": Operator(
        slice_update,
        ("x", "update", "begin", "end"),
        ("stride", "begin_mask", "end_mask", "squeeze_mask"),
    ),
}
