"""ONNX operators that compute with windows of feature maps, as PyTorch functions.

Convolutions and poolings. See ``operators`` for the convention.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.onnx_network.host_values import Attributes
from slide_deploy.onnx_network.operators import Function, UnsupportedOperatorError


def spatial_padding(attributes: Attributes, sizes: list[Any], kernel: list[int]) -> list[int]:
    """Return the zeros before and after every axis of a convolution or a pooling.

    Args:
        attributes: attributes of the operator: ``pads`` or ``auto_pad``, strides and dilations.
        sizes: sizes of the input, without batch and channels.
        kernel: sizes of the kernel.

    Returns:
        Zeros before each axis, then zeros after each axis.
    """
    mode, axes = attributes.get("auto_pad", "NOTSET"), len(kernel)
    if mode in ("NOTSET", "VALID"):
        return list(attributes.get("pads", [0] * 2 * axes)) if mode == "NOTSET" else [0] * 2 * axes
    strides = attributes.get("strides", [1] * axes)
    dilations = attributes.get("dilations", [1] * axes)
    before, after = [], []
    for size, taps, stride, step in zip(sizes, kernel, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + (taps - 1) * step + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if mode == "SAME_UPPER" else large)
        after.append(large if mode == "SAME_UPPER" else small)
    return before + after


def padded(value: Tensor, pads: list[int], number: float = 0.0) -> Tensor:
    """Pad the last axes of feature maps; ``pads`` is as in ``spatial_padding``."""
    axes = len(pads) // 2
    flat: list[int] = []
    for axis in reversed(range(axes)):
        flat += [pads[axis], pads[axes + axis]]
    return functional.pad(value, flat, value=number) if any(flat) else value


def is_symmetric(pads: list[int]) -> bool:
    """Whether as many zeros stand before as after every axis."""
    return pads[: len(pads) // 2] == pads[len(pads) // 2 :]


_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def _convolution(attributes: Attributes, x: Tensor, weight: Tensor, bias: Any = None) -> Tensor:
    kernel = list(weight.shape[2:])
    axes = len(kernel)
    pads = spatial_padding(attributes, list(x.shape[2:]), kernel)
    inner = pads[:axes] if is_symmetric(pads) else [0] * axes
    return _CONVOLUTIONS[axes](
        x if is_symmetric(pads) else padded(x, pads),
        weight,
        bias,
        tuple(attributes.get("strides", [1] * axes)),
        tuple(inner),
        tuple(attributes.get("dilations", [1] * axes)),
        attributes.get("group", 1),
    )


def _transposed_convolution(
    attributes: Attributes, x: Tensor, weight: Tensor, bias: Any = None
) -> Tensor:
    axes = weight.dim() - 2
    strides = list(attributes.get("strides", [1] * axes))
    dilations = list(attributes.get("dilations", [1] * axes))
    extra = list(attributes.get("output_padding", [0] * axes))
    # Sizes of the output before rows are cut off at its border.
    whole = [
        stride * (size - 1) + (taps - 1) * step + 1 + more
        for size, taps, stride, step, more in zip(
            x.shape[2:], weight.shape[2:], strides, dilations, extra, strict=True
        )
    ]
    pads = _cut_rows(attributes, whole, list(x.shape[2:]), strides)
    fits = is_symmetric(pads) and min(pads) >= 0
    result = _TRANSPOSED[axes](
        x,
        weight,
        bias,
        tuple(strides),
        tuple(pads[:axes] if fits else [0] * axes),
        tuple(extra),
        attributes.get("group", 1),
        tuple(dilations),
    )
    return result if fits else padded(result, [-each for each in pads])


def _cut_rows(
    attributes: Attributes, whole: list[Any], sizes: list[Any], strides: list[int]
) -> list[int]:
    """Return how many rows a transposed convolution cuts off, ordered as in ``spatial_padding``."""
    mode, wanted = attributes.get("auto_pad", "NOTSET"), attributes.get("output_shape")
    if mode == "VALID":
        return [0] * 2 * len(whole)
    if wanted is None and mode == "NOTSET":
        return list(attributes.get("pads", [0] * 2 * len(whole)))
    if wanted is None:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    # Of an odd number, the half that is larger lies at the end, but for SAME_LOWER.
    cut = [size - goal for size, goal in zip(whole, wanted[-len(whole) :], strict=True)]
    if min(cut) < 0 or (mode == "NOTSET" and any(each % 2 for each in cut)):
        raise UnsupportedOperatorError("its output_shape does not say where rows are cut off")
    small, large = [each // 2 for each in cut], [each - each // 2 for each in cut]
    return large + small if mode == "SAME_LOWER" else small + large


_MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _maximum_pooled(attributes: Attributes, x: Tensor) -> Tensor:
    kernel = list(attributes["kernel_shape"])
    pads, fits = _pool_padding(attributes, x, kernel)
    if not fits:
        x = padded(x, pads, -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min)
    return _MAX_POOLS[len(kernel)](
        x,
        kernel,
        list(attributes.get("strides", [1] * len(kernel))),
        pads[: len(kernel)] if fits else 0,
        list(attributes.get("dilations", [1] * len(kernel))),
        bool(attributes.get("ceil_mode", 0)),
    )


def _average_pooled(attributes: Attributes, x: Tensor) -> Tensor:
    kernel = list(attributes["kernel_shape"])
    if any(step != 1 for step in attributes.get("dilations", ())):
        raise UnsupportedOperatorError("its average pooling is dilated")
    pads, fits = _pool_padding(attributes, x, kernel)
    strides = list(attributes.get("strides", [1] * len(kernel)))
    pool = _AVERAGE_POOLS[len(kernel)]
    counts = bool(attributes.get("count_include_pad", 0)) or not any(pads)
    if fits:
        up = bool(attributes.get("ceil_mode", 0))
        return pool(x, kernel, strides, pads[: len(kernel)], up, counts)
    mean = pool(padded(x, pads), kernel, strides)
    if counts:
        return mean
    ones = padded(torch.ones_like(x[:1, :1]), pads)
    return mean / pool(ones, kernel, strides)


def _pool_padding(attributes: Attributes, x: Tensor, kernel: list[int]) -> tuple[list[int], bool]:
    """Return the padding of a pooling, and whether PyTorch's pooling can add it itself."""
    pads = spatial_padding(attributes, list(x.shape[2:]), kernel)
    fits = is_symmetric(pads) and all(
        pad <= size // 2 for pad, size in zip(pads, kernel, strict=False)
    )
    if not fits and attributes.get("ceil_mode", 0):
        raise UnsupportedOperatorError("its pooling rounds sizes up and has uneven padding")
    return pads, fits


def _global(function: Function) -> Function:
    return lambda attributes, x: function(x, tuple(range(2, x.dim())), keepdim=True)


WINDOWED: dict[str, Function] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "MaxPool": _maximum_pooled,
    "AveragePool": _average_pooled,
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
}
