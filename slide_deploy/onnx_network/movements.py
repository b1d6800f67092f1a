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
)
from slide_deploy.onnx_network.operators import Function, UnsupportedOperatorError, _listed

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
            if step != -1 or start not in (-1, x.shape[axis] - 1) or end > -x.shape[axis]:
                raise UnsupportedOperatorError("it slices backwards")
            x = x.flip(axis)
            continue
        end = None if isinstance(end, int) and end >= _LARGEST_END else end
        places: list[Any] = [slice(None)] * x.dim()
        places[axis] = slice(start, end, step)
        x = x[tuple(places)]
    return x


def _gathered(attributes: Attributes, x: Any, indices: Any) -> Tensor:
    x, axis = as_tensor(x), attributes.get("axis", 0)
    if isinstance(indices, np.ndarray):
        if indices.ndim == 0:
            return x.select(axis, as_number(indices))
        listed = integers(indices)
        if indices.ndim == 1 and listed == list(range(listed[0], listed[0] + len(listed))):
            return x.narrow(axis, listed[0] % x.shape[axis], len(listed))
    places = as_tensor(indices).long()
    places = torch.where(places < 0, places + x.shape[axis], places)
    axis %= x.dim()
    if axis == 0 and x.dim() == 2:
        return functional.embedding(places, x)
    flat = x.index_select(axis, places.flatten())
    return flat.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def _expanded(attributes: Attributes, x: Any, sizes: Any) -> Tensor:
    x, wanted = as_tensor(x), integers(sizes)
    wanted = [1] * (x.dim() - len(wanted)) + wanted
    own = [1] * (len(wanted) - x.dim()) + list(x.shape)
    # A size of 1 leaves the value's own size as it is, unlike in PyTorch.
    both = zip(own, wanted, strict=True)
    return x.expand([mine if isinstance(size, int) and size == 1 else size for mine, size in both])


def _filled(attributes: Attributes, sizes: Any) -> Tensor:
    value = attributes.get("value", 0.0)
    kind = torch.get_default_dtype() if isinstance(value, float) else None
    return torch.full(integers(sizes), value, dtype=kind)


def _ranged(attributes: Attributes, start: Any, end: Any, step: Any) -> Tensor:
    return torch.arange(*(as_number(each) for each in (start, end, step)))


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
        if attributes.get("select_last_index", 0):
            raise UnsupportedOperatorError("it takes the last of equal values")
        result: Tensor = function(
            x, attributes.get("axis", 0), keepdim=bool(attributes.get("keepdims", 1))
        )
        return result

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
    apart = x.reshape(batch, channels, height // side, side, width // side, side)
    moved = apart.permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(batch, channels * side**2, height // side, width // side)


def _resized(
    attributes: Attributes, x: Tensor, region: Any = None, scales: Any = None, sizes: Any = None
) -> Tensor:
    """Resize feature maps in the ways that PyTorch knows too."""
    mode = attributes.get("mode", "nearest")
    place = attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = attributes.get("nearest_mode", "round_prefer_floor")
    known = {
        ("nearest", "asymmetric"): ("nearest", None),
        ("nearest", "half_pixel"): ("nearest-exact", None),
        ("linear", "half_pixel"): ("bilinear", False),
        ("linear", "pytorch_half_pixel"): ("bilinear", False),
        ("linear", "align_corners"): ("bilinear", True),
        ("cubic", "half_pixel"): ("bicubic", False),
        ("cubic", "pytorch_half_pixel"): ("bicubic", False),
        ("cubic", "align_corners"): ("bicubic", True),
    }
    ours, corners = known.get((mode, place), ("", None))
    floors = {"asymmetric": "floor", "half_pixel": "round_prefer_floor"}.get(place)
    if (
        x.dim() != 4
        or not ours
        or attributes.get("axes") is not None
        or attributes.get("antialias", 0)
        or (mode == "nearest" and rounding != floors)
        or (mode == "cubic" and attributes.get("cubic_coeff_a", -0.75) != -0.75)
    ):
        raise UnsupportedOperatorError(f"it resizes by {mode} {place}, which PyTorch lacks")
    if sizes is not None and len(integers(sizes)):
        wanted = integers(sizes)[2:]
    else:
        factors = as_tensor(scales).tolist()[2:]
        wanted = [int(size * by) for size, by in zip(x.shape[2:], factors, strict=True)]
    return functional.interpolate(x, wanted, mode=ours, align_corners=corners)


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
    "GatherElements": lambda given, x, places: torch.gather(
        x, given.get("axis", 0), as_tensor(places).long()
    ),
    "Expand": _expanded,
    "Tile": lambda given, x, repeats: as_tensor(x).repeat(integers(repeats)),
    "ConstantOfShape": _filled,
    "Range": _ranged,
    "Pad": _padded,
    "Resize": _resized,
    "DepthToSpace": _from_depth,
    "SpaceToDepth": _to_depth,
    "ReduceSum": _reduced(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMean": _reduced(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMax": _reduced(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": _reduced(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reduced(_multiplied),
    "ReduceL1": _reduced(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
    "ReduceSumSquare": _reduced(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ArgMax": _chosen(torch.argmax),
    "ArgMin": _chosen(torch.argmin),
}
