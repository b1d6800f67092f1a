"""ONNX operators that move, select, join and reduce values, as PyTorch functions.

See ``operators`` for the convention.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.onnx_network.host_values import (
    Attributes,
    as_number,
    as_tensor,
    integers,
    range_size,
)
from slide_deploy.onnx_network.operators import (
    Function,
    UnsupportedOperatorError,
    _listed,
    refuse_large,
)

_LARGEST_END = 2**31 - 1


def _reshaped(attributes: Attributes, x: Tensor, sizes: Any) -> Tensor:
    wanted = integers(sizes)
    if not attributes.get("allowzero", 0):
        wanted = [
            x.shape[axis] if isinstance(size, int) and size == 0 else size
            for axis, size in enumerate(wanted)
        ]
    return x.reshape(wanted)


def _flattened(attributes: Attributes, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    if axis == 1:
        return x.flatten(1) if x.dim() > 1 else x.reshape(-1, 1)
    rows = 1
    for size in x.shape[:axis]:
        rows = rows * size
    return x.reshape(rows, -1)


def _transposed(attributes: Attributes, x: Tensor) -> Tensor:
    return x.permute(attributes.get("perm", tuple(reversed(range(x.dim())))))


def _squeezed(attributes: Attributes, x: Tensor, axes: Any = None) -> Tensor:
    along = _listed(attributes, "axes", axes)
    return x.squeeze() if along is None else x.squeeze(tuple(along))


def _unsqueezed(attributes: Attributes, x: Any, axes: Any = None) -> Tensor:
    x, along = as_tensor(x), _listed(attributes, "axes", axes) or []
    for axis in sorted(each % (x.dim() + len(along)) for each in along):
        x = x.unsqueeze(axis)
    return x


def _gathered_elements(attributes: Attributes, x: Tensor, indices: Any) -> Tensor:
    axis, places = attributes.get("axis", 0), as_tensor(indices).long()
    return torch.gather(x, axis, torch.where(places < 0, places + x.shape[axis], places))


def _joined(attributes: Attributes, *parts: Any) -> Tensor:
    like = next((each for each in parts if isinstance(each, Tensor)), None)
    return torch.cat([as_tensor(each, like) for each in parts], attributes["axis"])


def _split(attributes: Attributes, x: Tensor, sizes: Any = None) -> tuple[Tensor, ...]:
    axis, given = attributes.get("axis", 0), _listed(attributes, "split", sizes)
    if given is None:
        count = attributes.get("num_outputs") or attributes["outputs"]
        given = -(-x.shape[axis] // count)
    return torch.split(x, given, axis)


def _sliced(
    attributes: Attributes,
    x: Tensor,
    starts: Any = None,
    ends: Any = None,
    axes: Any = None,
    steps: Any = None,
) -> Tensor:
    first, last = _listed(attributes, "starts", starts), _listed(attributes, "ends", ends)
    assert first is not None
    assert last is not None
    along = _listed(attributes, "axes", axes) or list(range(len(first)))
    by = [1] * len(first) if steps is None else integers(steps)
    for axis, start, end, step in zip(along, first, last, by, strict=True):
        if step < 0:
            x = _sliced_backwards(x, axis, start, end, step)
            continue
        end = None if isinstance(end, int) and end >= _LARGEST_END else end
        places: list[Any] = [slice(None)] * x.dim()
        places[axis] = slice(start, end, step)
        x = x[tuple(places)]
    return x


def _sliced_backwards(x: Tensor, axis: int, start: Any, end: Any, step: int) -> Tensor:
    size = x.shape[axis]
    first, last, _ = slice(start, None if end < -size else end, step).indices(size)
    places: list[Any] = [slice(None)] * x.dim()
    places[axis] = slice(size - 1 - first, size - 1 - last, -step)
    return x.flip(axis)[tuple(places)]


def _gathered(attributes: Attributes, x: Any, indices: Any) -> Tensor:
    x, axis = as_tensor(x), attributes.get("axis", 0)
    if isinstance(indices, np.ndarray):
        if indices.ndim == 0:
            return x.select(axis, as_number(indices))
        listed = integers(indices)
        is_row = listed == list(range(listed[0], listed[0] + len(listed))) if listed else False
        if indices.ndim == 1 and is_row and (listed[0] >= 0 or listed[-1] < 0):
            return x.narrow(axis, listed[0] % x.shape[axis], len(listed))
    places = as_tensor(indices).long()
    places = torch.where(places < 0, places + x.shape[axis], places)
    axis %= x.dim()
    if axis == 0 and x.dim() == 2:
        return functional.embedding(places, x)
    flat = x.index_select(axis, places.flatten())
    return flat.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def _gathered_nd(attributes: Attributes, x: Any, indices: Any) -> Tensor:
    """Gather by tuples of indices, as by one index into the axes that the tuples are for."""
    if attributes.get("batch_dims", 0):
        raise UnsupportedOperatorError("it gathers from each sample of a batch")
    x, places = as_tensor(x), as_tensor(indices).long()
    axes, flat = places.shape[-1], torch.zeros_like(places[..., 0])
    for axis in range(axes):
        size, index = x.shape[axis], places[..., axis]
        flat = flat * size + torch.where(index < 0, index + size, index)
    rows = x.flatten(0, axes - 1).index_select(0, flat.flatten())
    return rows.reshape(*flat.shape, *x.shape[axes:])


def _top(attributes: Attributes, x: Tensor, count: Any) -> tuple[Tensor, Tensor]:
    (number,), axis = integers(count), attributes.get("axis", -1)
    # Of equal values, the first come first, which torch.topk does not promise.
    values, places = torch.sort(
        x, dim=axis, descending=bool(attributes.get("largest", 1)), stable=True
    )
    return values.narrow(axis, 0, number), places.narrow(axis, 0, number)


def _accumulated(attributes: Attributes, x: Tensor, axis: Any) -> Tensor:
    (along,), is_reverse = integers(axis), attributes.get("reverse", 0)
    x = x.flip(along) if is_reverse else x
    total = x.cumsum(along, dtype=x.dtype)
    if attributes.get("exclusive", 0):  # the value itself does not count
        before = total.narrow(along, 0, x.shape[along] - 1)
        total = torch.cat([torch.zeros_like(x.narrow(along, 0, 1)), before], along)
    return total.flip(along) if is_reverse else total


def _triangle(attributes: Attributes, x: Tensor, diagonal: Any = None) -> Tensor:
    first = 0 if diagonal is None else integers(diagonal)[0]
    return x.triu(first) if attributes.get("upper", 1) else x.tril(first)


def _expanded(attributes: Attributes, x: Any, sizes: Any) -> Tensor:
    x, wanted = as_tensor(x), integers(sizes)
    wanted = [1] * (x.dim() - len(wanted)) + wanted
    own = [1] * (len(wanted) - x.dim()) + list(x.shape)
    # A size of 1 leaves the value's own size as it is, unlike in PyTorch.
    both = zip(own, wanted, strict=True)
    goal = [mine if isinstance(size, int) and size == 1 else size for mine, size in both]
    refuse_large(goal)
    return x.expand(goal)


def _filled(attributes: Attributes, sizes: Any) -> Tensor:
    value = attributes.get("value", 0.0)
    filling = as_tensor(np.asarray(value))
    wanted = integers(sizes)
    refuse_large(wanted)
    return torch.full(wanted, filling.flatten()[0].item(), dtype=filling.dtype)


def _ranged(attributes: Attributes, start: Any, end: Any, step: Any) -> Tensor:
    kind = as_tensor(start).dtype
    first, last, by = (as_number(each) for each in (start, end, step))
    refuse_large([range_size(first, last, by)])
    return torch.arange(first, last, by, dtype=kind)


def _tiled(attributes: Attributes, x: Any, repeats: Any) -> Tensor:
    x, times = as_tensor(x), integers(repeats)
    refuse_large([*x.shape, *times])
    return x.repeat(times)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _padded(
    attributes: Attributes, x: Tensor, pads: Any = None, value: Any = None, axes: Any = None
) -> Tensor:
    given = _listed(attributes, "pads", pads) or []
    along = [each % x.dim() for each in integers(axes)] if axes is not None else range(x.dim())
    number = attributes.get("value", 0.0) if value is None else as_number(value)
    before, after = [0] * x.dim(), [0] * x.dim()
    for place, axis in enumerate(along):
        before[axis], after[axis] = given[place], given[place + len(given) // 2]
    outer = next(
        (
            axis
            for axis in range(x.dim())
            if not _is_zero(before[axis]) or not _is_zero(after[axis])
        ),
        x.dim(),
    )
    flat: list[Any] = []
    for axis in reversed(range(outer, x.dim())):
        flat += [before[axis], after[axis]]
    mode = _PAD_MODES[attributes.get("mode", "constant")]
    if not flat:
        return x
    refuse_large([sum(each) for each in zip(x.shape, before, after, strict=True)])
    if mode == "constant":
        return functional.pad(x, flat, value=number)
    if outer < 2:
        raise UnsupportedOperatorError("it pads other axes than height and width by their values")
    flat += [0, 0] * (x.dim() - 2 - len(flat) // 2)
    return functional.pad(x, flat, mode=mode)


def _is_zero(size: Any) -> bool:
    return isinstance(size, int) and size == 0


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Function:
    def computed(attributes: Attributes, x: Any, axes: Any = None) -> Tensor:
        x, along = as_tensor(x), _listed(attributes, "axes", axes)
        if not along:
            if attributes.get("noop_with_empty_axes", 0):
                return x
            along = list(range(x.dim()))
        return function(x, along, bool(attributes.get("keepdims", 1)))

    return computed


def _multiplied(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((each % x.dim() for each in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _chosen(function: Function) -> Function:
    def computed(attributes: Attributes, x: Tensor) -> Tensor:
        axis, keep = attributes.get("axis", 0), bool(attributes.get("keepdims", 1))
        if attributes.get("select_last_index", 0):
            last: Tensor = x.shape[axis] - 1 - function(x.flip(axis), axis, keepdim=keep)
            return last
        first: Tensor = function(x, axis, keepdim=keep)
        return first

    return computed


def _from_depth(attributes: Attributes, x: Tensor) -> Tensor:
    side = attributes["blocksize"]
    batch, channels, height, width = x.shape
    if attributes.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, side)
    apart = x.reshape(batch, side, side, channels // side**2, height, width)
    moved = apart.permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(batch, channels // side**2, height * side, width * side)


def _to_depth(attributes: Attributes, x: Tensor) -> Tensor:
    side = attributes["blocksize"]
    batch, channels, height, width = x.shape
    if attributes.get("mode", "DCR") == "CRD":
        return functional.pixel_unshuffle(x, side)
    apart = x.reshape(batch, channels, height // side, side, width // side, side)
    moved = apart.permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(batch, channels * side**2, height // side, width // side)


MOVED: dict[str, Function] = {
    "Reshape": _reshaped,
    "Flatten": _flattened,
    "Transpose": _transposed,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Concat": _joined,
    "Split": _split,
    "Slice": _sliced,
    "Gather": _gathered,
    "GatherElements": _gathered_elements,
    "GatherND": _gathered_nd,
    "TopK": _top,
    "CumSum": _accumulated,
    "Trilu": _triangle,
    "Expand": _expanded,
    "Tile": _tiled,
    "ConstantOfShape": _filled,
    "Range": _ranged,
    "Pad": _padded,
    "DepthToSpace": _from_depth,
    "SpaceToDepth": _to_depth,
    "ReduceSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMean": _reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMax": _reduced(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": _reduced(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reduced(_multiplied),
    "ReduceL1": _reduced(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
    "ReduceLogSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
    "ReduceLogSumExp": _reduced(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
    "ReduceSumSquare": _reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ArgMax": _chosen(torch.argmax),
    "ArgMin": _chosen(torch.argmin),
}
