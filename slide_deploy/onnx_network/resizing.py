"""ONNX's ``Resize`` as PyTorch's ``interpolate``, where both compute the same.

ONNX maps an output's coordinate to the input by the scale that the node states; PyTorch, by the
quotient of both sizes. They agree only if a scale times the size is a whole number.
"""

from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from slide_deploy.onnx_network.host_values import Attributes, as_tensor, integers
from slide_deploy.onnx_network.operators import (
    Function,
    UnsupportedOperatorError,
    refuse_large,
)

# PyTorch's mode by mode and coordinate transformation, and whether it aligns corners.
_MODES: dict[tuple[str, str], tuple[str, bool | None]] = {
    ("nearest", "asymmetric"): ("nearest", None),
    ("nearest", "half_pixel"): ("nearest-exact", None),
    ("linear", "half_pixel"): ("linear", False),
    ("linear", "pytorch_half_pixel"): ("linear", False),
    ("linear", "align_corners"): ("linear", True),
    ("cubic", "half_pixel"): ("bicubic", False),
    ("cubic", "pytorch_half_pixel"): ("bicubic", False),
    ("cubic", "align_corners"): ("bicubic", True),
}
# Rounding of ONNX's coordinates that gives the neighbour which PyTorch takes.
_ROUNDINGS = {"asymmetric": "floor", "half_pixel": "round_prefer_floor"}
_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}
# Largest relative difference between a float32 scale and the quotient of two sizes.
_ROUNDED = 1e-6


def _resized(
    attributes: Attributes, x: Tensor, region: Any = None, scales: Any = None, sizes: Any = None
) -> Tensor:
    """Resize the last axes of feature maps."""
    mode = attributes.get("mode", "nearest")
    place = attributes.get("coordinate_transformation_mode", "half_pixel")
    if attributes["opset"] < 11:  # it has no region there, and truncates coordinates
        scales, place = region, "asymmetric"
        attributes = {**attributes, "nearest_mode": "floor"}
    ours, corners = _MODES.get((mode, place), ("", None))
    rounding = attributes.get("nearest_mode", "round_prefer_floor")
    if (
        x.dim() not in _LINEAR
        or not ours
        or attributes.get("axes") is not None
        or attributes.get("antialias", 0)
        or attributes.get("exclude_outside", 0)
        or attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch"
        or (mode == "nearest" and rounding != _ROUNDINGS[place])
        or (mode == "cubic" and (attributes.get("cubic_coeff_a", -0.75) != -0.75 or x.dim() != 4))
    ):
        raise UnsupportedOperatorError(f"it resizes by {mode} {place}, which PyTorch lacks")
    wanted = _wanted(x, scales, sizes)
    refuse_large([*x.shape[:2], *wanted])
    for before, after in zip(x.shape[2:], wanted, strict=True):
        # In both cases PyTorch takes other neighbours.
        if ours == "nearest-exact" and after % before:
            raise UnsupportedOperatorError("it resizes to nearest neighbours by a broken factor")
        if place == "pytorch_half_pixel" and after == 1 and before != 1:
            raise UnsupportedOperatorError("it resizes an axis to a single value")
    return functional.interpolate(
        x, wanted, mode=_LINEAR[x.dim()] if ours == "linear" else ours, align_corners=corners
    )


def _wanted(x: Tensor, scales: Any, sizes: Any) -> list[Any]:
    """Return the sizes of the last axes of the result."""
    if sizes is not None and len(sizes):
        goal = integers(sizes)
    else:
        factors = as_tensor(scales).tolist()
        goal = [
            int(np.float32(size) * np.float32(by)) if isinstance(size, int) else size * int(by)
            for size, by in zip(x.shape, factors, strict=True)
        ]
        for size, by, after in zip(x.shape, factors, goal, strict=True):
            if not abs(after - size * by) <= _ROUNDED * size * by:
                raise UnsupportedOperatorError("it resizes to a size that is not a whole number")
    if goal[:2] != list(x.shape[:2]):
        raise UnsupportedOperatorError("it resizes batches or channels")
    return goal[2:]


RESIZED: dict[str, Function] = {"Resize": _resized}
