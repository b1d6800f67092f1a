"""Convolutions; x (batch, channel, ...space), with one to three spatial axes."""

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators
from slide_deploy.backends.mil_interpreter.windows import (
    Windows,
    pad_constant,
    read_padding,
    read_windows,
)

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)


def conv(call: OperatorCall) -> Tensor:
    """Convolution; weight (out, in / groups, ...kernel), bias (out)."""
    x, weight = call.tensor("x"), call.tensor("weight")
    windows = _windows(call, x, weight)
    padding = read_padding(call, windows, x.shape[2:])
    x = pad_constant(call, x, padding, 0.0)
    call.check_size((x.shape[0], weight.shape[0], *windows.outputs(x.shape[2:])))
    return _CONVOLUTIONS[windows.rank - 1](
        x,
        weight,
        call.optional("bias"),
        stride=windows.strides,
        dilation=windows.dilations,
        groups=call.integer("groups", 1),
    )


def conv_transpose(call: OperatorCall) -> Tensor:
    """Transposed convolution; weight (in, out / groups, ...kernel), bias (out).

    Along one axis the windows of D inputs cover ``F = (D - 1) s + E`` outputs. ``valid`` keeps
    all, ``custom`` crops the given numbers, and ``same`` keeps D s of them: it crops half of the
    other F - D s before and half after, or adds zeros after if F is less than D s.
    """
    x, weight = call.tensor("x"), call.tensor("weight")
    windows, groups = _windows(call, x, weight), call.integer("groups", 1)
    full_sizes = [
        (size - 1) * stride + extent
        for size, stride, extent in zip(x.shape[2:], windows.strides, windows.extents, strict=True)
    ]
    call.check_size((x.shape[0], weight.shape[1] * max(groups, 1), *full_sizes))
    full = _TRANSPOSED[windows.rank - 1](
        x, weight, stride=windows.strides, dilation=windows.dilations, groups=groups
    )
    result = pad_or_crop(call, full, _surplus(call, windows, x, full_sizes))
    if call.has("output_shape") and call.integers("output_shape") != list(result.shape):
        raise call.unsupported("an output_shape that its padding does not give")
    bias = call.optional("bias")
    return result if bias is None else result + bias.reshape(-1, *[1] * windows.rank)


def pad_or_crop(call: OperatorCall, x: Tensor, surplus: list[tuple[int, int]]) -> Tensor:
    """Crop elements before and after; a negative number adds zeros instead."""
    for axis, (before, after) in enumerate(surplus, start=2):
        kept = x.shape[axis] - max(before, 0) - max(after, 0)
        if kept < 0:
            raise call.faulty(f"cuts off {before + after} of {x.shape[axis]} elements")
        x = x.narrow(axis, max(before, 0), kept)
    return pad_constant(
        call, x, [(max(-before, 0), max(-after, 0)) for before, after in surplus], 0.0
    )


def _windows(call: OperatorCall, x: Tensor, weight: Tensor) -> Windows:
    if x.dim() != weight.dim():
        raise call.faulty(f"has a weight of rank {weight.dim()} for x of rank {x.dim()}")
    return read_windows(call, weight.shape[2:], x.dim() - 2)


def _surplus(
    call: OperatorCall, windows: Windows, x: Tensor, full_sizes: list[int]
) -> list[tuple[int, int]]:
    """Return how many elements to crop before and after each spatial axis."""
    kind = call.text("pad_type", "valid")
    if kind in ("valid", "custom"):
        return read_padding(call, windows, x.shape[2:])
    if kind != "same":
        raise call.unsupported(f"pad_type {kind}")
    totals = [
        full - size * stride
        for full, size, stride in zip(full_sizes, x.shape[2:], windows.strides, strict=True)
    ]
    return [(max(total, 0) // 2, total - max(total, 0) // 2) for total in totals]


_OPTIONS = ("strides", "pad_type", "pad", "bias", "dilations", "groups")

OPERATORS: Operators = {
    "conv": Operator(conv, ("x", "weight"), _OPTIONS),
    "conv_transpose": Operator(conv_transpose, ("x", "weight"), (*_OPTIONS, "output_shape")),
}
