"""Sizes and indices of a graph, computed in Python instead of in tensors.

Graphs compute the sizes of a reshape from ``Shape`` by gathering, slicing and multiplying. Such
values are numpy arrays here. They hold integers or, while a network with open sizes is traced,
symbolic integers; the type of the array is ``object`` then.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Host = np.ndarray[Any, np.dtype[Any]]
Attributes = Mapping[str, Any]

# Constants with more elements are tensors.
_LARGEST = 4096

_TYPES = {
    **{"f": np.float64, "b": np.bool_, "u8": np.uint8, "i8": np.int8, "i16": np.int16},
    **{"i32": np.int32, "i": np.int64},
}

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Min": np.minimum,
    "Max": np.maximum,
    "Equal": lambda a, b: a == b,
    "Greater": lambda a, b: a > b,
    "Less": lambda a, b: a < b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "LessOrEqual": lambda a, b: a <= b,
    "And": np.logical_and,
    "Or": np.logical_or,
}


def is_host(array: Host) -> bool:
    """Whether a constant is kept as a host value: indices and sizes, and single numbers."""
    if array.dtype.kind in "iub":
        return array.size <= _LARGEST and array.ndim <= 1
    return array.dtype.kind == "f" and array.size == 1


def sizes_of(tensor: Tensor) -> Host:
    """Return the shape of a tensor as a host value."""
    sizes = list(tensor.shape)
    if all(isinstance(size, int) for size in sizes):
        return np.array(sizes, np.int64)
    array = np.empty(len(sizes), object)
    array[:] = sizes
    return array


def integers(value: Any) -> list[Any]:
    """Return a host value, or a constant tensor, as a flat list of (symbolic) integers."""
    if isinstance(value, Tensor):
        return [int(each) for each in value.flatten().tolist()]
    return [
        each if isinstance(each, torch.SymInt) else int(each) for each in value.ravel().tolist()
    ]


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """Return a host value as a tensor.

    Args:
        value: host value or tensor.
        like: tensor whose type numbers with a fraction get.
    """
    if isinstance(value, Tensor):
        return value
    if value.dtype == object:
        if not any(isinstance(each, torch.SymInt) for each in value.ravel()):
            value = value.astype(np.int64)
        else:
            flat = [torch.scalar_tensor(each, dtype=torch.int64) for each in value.ravel()]
            return torch.stack(flat).reshape(value.shape)
    tensor = torch.from_numpy(np.asarray(value, order="C"))
    if like is not None and tensor.is_floating_point() and like.is_floating_point():
        return tensor.to(like.dtype)
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def as_number(value: Any) -> Any:
    """Return a host value of one element as a Python number."""
    found = value.ravel()[0]
    return found if isinstance(found, torch.SymInt) else found.item()


def compute(operator: str, attributes: Attributes, values: Sequence[Any]) -> Host | None:
    """Compute an operator of host values.

    Args:
        operator: name of the ONNX operator.
        attributes: its attributes.
        values: its inputs, all host values; None for one that is left out.

    Returns:
        The result; None if the operator is not one of those that compute sizes.
    """
    with np.errstate(all="ignore"):  # a runtime does not warn of a division by zero either
        if operator in _BINARY and len(values) == 2 and not _is_large(operator, values):
            return np.asarray(_BINARY[operator](*values))
        if operator in _OTHERS and not _is_large(operator, values):
            return np.asarray(_OTHERS[operator](attributes, *values))
    return None


def _is_large(operator: str, values: Sequence[Any]) -> bool:
    """Whether a result is no list of sizes, or depends on a size that is open."""
    if operator in _BINARY:
        return math.prod(np.broadcast_shapes(*(each.shape for each in values))) > _LARGEST
    if operator == "Range":
        is_open = any(each.dtype == object for each in values)
        return is_open or range_size(*map(as_number, values)) > _LARGEST
    sizes = values[0] if operator == "ConstantOfShape" else values[-1]
    if operator not in ("ConstantOfShape", "Expand"):
        return False
    return sizes.dtype == object or bool(np.prod(sizes.astype(np.float64)) > _LARGEST)


def range_size(start: Any, end: Any, step: Any) -> Any:
    """Return how many numbers a range has; 0 if a bound is an open size or not finite."""
    if not all(
        isinstance(each, int | float) and math.isfinite(each) for each in (start, end, step)
    ):
        return 0
    return max(0, math.ceil((end - start) / step)) if step else 0


def _divided(attributes: Attributes, one: Host, other: Host) -> Host:
    if one.dtype.kind == "f" or other.dtype.kind == "f":
        return np.asarray(one / other)
    if one.dtype == object or other.dtype == object:
        return np.asarray(one // other)  # sizes are not negative, so that floor is truncation
    return np.asarray(np.sign(one) * np.sign(other) * (abs(one) // abs(other)))


def _remainder(attributes: Attributes, one: Host, other: Host) -> Host:
    return np.asarray(np.fmod(one, other) if attributes.get("fmod", 0) else one % other)


def _cast(attributes: Attributes, value: Host) -> Host:
    kind = attributes["to"]
    if value.dtype == object:
        return value
    return np.asarray(value.astype(_TYPES[kind]))


def _sliced(
    attributes: Attributes,
    value: Host,
    starts: Host | None = None,
    ends: Host | None = None,
    axes: Host | None = None,
    steps: Host | None = None,
) -> Host:
    first, last = _listed(attributes, "starts", starts), _listed(attributes, "ends", ends)
    along = _listed(attributes, "axes", axes) or list(range(len(first)))
    by = integers(steps) if steps is not None else [1] * len(first)
    places: list[Any] = [slice(None)] * value.ndim
    for axis, start, end, step in zip(along, first, last, by, strict=True):
        places[axis] = slice(start, None if end < -value.shape[axis] else end, step)
    return np.asarray(value[tuple(places)])


def _listed(attributes: Attributes, name: str, value: Host | None) -> list[Any]:
    return integers(value) if value is not None else list(attributes.get(name, ()))


def _unsqueezed(attributes: Attributes, value: Host, axes: Host | None = None) -> Host:
    along = _listed(attributes, "axes", axes)
    rank = value.ndim + len(along)
    for axis in sorted(each % rank for each in along):
        value = np.expand_dims(value, axis)
    return value


def _squeezed(attributes: Attributes, value: Host, axes: Host | None = None) -> Host:
    along = _listed(attributes, "axes", axes)
    return np.squeeze(value, tuple(along) if along else None)


def _gathered(attributes: Attributes, value: Host, indices: Host) -> Host:
    return np.asarray(value.take(indices.astype(np.int64), axis=attributes.get("axis", 0)))


def _reduced(function: Callable[..., Any]) -> Callable[..., Host]:
    def reduced(attributes: Attributes, value: Host, axes: Host | None = None) -> Host:
        along = tuple(_listed(attributes, "axes", axes)) or None
        keep = bool(attributes.get("keepdims", 1))
        return np.asarray(function(value, axis=along, keepdims=keep))

    return reduced


def _filled(attributes: Attributes, sizes: Host) -> Host:
    value = np.asarray(attributes.get("value", 0.0))
    return np.full(integers(sizes), value.ravel()[0], value.dtype)


def _reshaped(attributes: Attributes, value: Host, sizes: Host) -> Host:
    wanted = integers(sizes)
    if not attributes.get("allowzero", 0):
        wanted = [
            value.shape[axis] if isinstance(size, int) and size == 0 else size
            for axis, size in enumerate(wanted)
        ]
    return value.reshape(wanted)


def _expanded(attributes: Attributes, value: Host, sizes: Host) -> Host:
    return np.broadcast_to(value, np.broadcast_shapes(value.shape, tuple(integers(sizes))))


def _selected(attributes: Attributes, chosen: Host, one: Host, other: Host) -> Host:
    return np.asarray(np.where(chosen.astype(bool), one, other))


_OTHERS: dict[str, Callable[..., Host]] = {
    "Div": _divided,
    "Mod": _remainder,
    "Cast": _cast,
    "Slice": _sliced,
    "Unsqueeze": _unsqueezed,
    "Squeeze": _squeezed,
    "Gather": _gathered,
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "Concat": lambda given, *parts: np.concatenate(parts, given["axis"]),
    "Identity": lambda given, value: value,
    "Neg": lambda given, value: -value,
    "Abs": lambda given, value: abs(value),
    "Not": lambda given, value: np.logical_not(value),
    "Floor": lambda given, value: np.floor(value.astype(np.float64)),
    "Ceil": lambda given, value: np.ceil(value.astype(np.float64)),
    "Sqrt": lambda given, value: np.sqrt(value.astype(np.float64)),
    "Where": _selected,
    "Reshape": _reshaped,
    "Transpose": lambda given, value: value.transpose(given.get("perm")),
    "Expand": _expanded,
    "Range": lambda given, start, end, step: np.arange(
        as_number(start), as_number(end), as_number(step), dtype=start.dtype
    ),
    "ConstantOfShape": _filled,
}
