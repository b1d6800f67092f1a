"""What ONNX operators compute, as PyTorch functions.

Every function takes the attributes of a node and its inputs in order, None for an input that is
left out, and returns its output or a tuple of them. Inputs are tensors, or host values as in
``host_values``. The meaning of operators follows the ONNX specification from opset 7 on; where an
attribute became an input in a later opset, both are read.
"""

import math
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
    sizes_of,
)

Function = Callable[..., Any]


class UnsupportedOperatorError(Exception):
    """An operator, or a setting of one, that cannot be run. The message is a clause."""


def _listed(attributes: Attributes, name: str, value: Any) -> list[Any] | None:
    """Return a list that is an attribute in older opsets and an input in later ones."""
    if value is not None:
        return integers(value)
    found = attributes.get(name)
    return None if found is None else list(found)


def _number(value: Any) -> Any:
    return as_number(value) if isinstance(value, np.ndarray) else value.item()


def _operand(value: Any, other: Any) -> Any:
    """Return an operand of an elementwise operator: a tensor, or a number if it is a single one."""
    if isinstance(value, Tensor):
        return value
    if value.size == 1 and isinstance(other, Tensor) and value.ndim <= other.ndim:
        number = as_number(value)
        # A number takes the type of the other operand, but would turn integers into floats.
        if other.is_floating_point() or not isinstance(number, float):
            return number
    return as_tensor(value, other if isinstance(other, Tensor) else None)


def _binary(function: Function) -> Function:
    def computed(attributes: Attributes, one: Any, other: Any) -> Tensor:
        left, right = _operand(one, other), _operand(other, one)
        if not isinstance(left, Tensor) and not isinstance(right, Tensor):
            left = as_tensor(one)
        result: Tensor = function(left, right)
        return result

    return computed


def _divided(one: Any, other: Any) -> Any:
    whole = all(
        not (each.is_floating_point() if isinstance(each, Tensor) else isinstance(each, float))
        for each in (one, other)
    )
    return torch.div(one, other, rounding_mode="trunc") if whole else one / other


def _powered(attributes: Attributes, base: Any, exponent: Any) -> Tensor:
    power = _operand(exponent, base)
    if not isinstance(power, Tensor) and float(power).is_integer():
        power = int(power)
    result: Tensor = torch.pow(as_tensor(base), power)
    return result


def _extreme(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def computed(attributes: Attributes, *values: Any) -> Tensor:
        result, *others = [as_tensor(each) for each in values]
        for other in others:
            result = function(result, other.to(result.dtype))
        return result

    return computed


def _unary(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda attributes, value: function(as_tensor(value))


def _clipped(attributes: Attributes, value: Tensor, low: Any = None, high: Any = None) -> Tensor:
    bounds = [
        attributes.get(name) if given is None else _number(given)
        for name, given in (("min", low), ("max", high))
    ]
    return value if bounds == [None, None] else torch.clamp(value, *bounds)


def _cast(attributes: Attributes, value: Any) -> Tensor:
    """Cast between kinds of numbers. All floating-point types are the type of the module."""
    tensor, kind = as_tensor(value), attributes["to"]
    if kind == "f":
        return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    wanted = {"b": torch.bool, "i": torch.int64, "u8": torch.uint8, "i32": torch.int32}[kind]
    return tensor.to(wanted)


def _matmul(attributes: Attributes, one: Any, other: Any) -> Tensor:
    return torch.matmul(as_tensor(one), as_tensor(other))


def _gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Any = None) -> Tensor:
    a = a.transpose(0, 1) if attributes.get("transA") else a
    b = b.transpose(0, 1) if attributes.get("transB") else b
    product = torch.matmul(a, b)
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    product = product if alpha == 1 else product * alpha
    if c is None:
        return product
    added = as_tensor(c, product)
    return product + (added if beta == 1 else added * beta)


def _softmax(function: Function) -> Function:
    def computed(attributes: Attributes, value: Tensor) -> Tensor:
        if attributes["opset"] >= 13:
            return function(value, attributes.get("axis", -1))
        axis = attributes.get("axis", 1) % value.dim()
        if axis == value.dim() - 1:
            return function(value, -1)
        # Older opsets normalise over all axes from this one on.
        flat: Tensor = function(value.flatten(axis), -1)
        return flat.reshape(value.shape)

    return computed


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
    pads = list(attributes.get("pads", [0] * 2 * axes))
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or (
        attributes.get("output_shape") is not None or not is_symmetric(pads)
    ):
        raise UnsupportedOperatorError("its transposed convolution has padding that PyTorch lacks")
    return _TRANSPOSED[axes](
        x,
        weight,
        bias,
        tuple(attributes.get("strides", [1] * axes)),
        tuple(pads[:axes]),
        tuple(attributes.get("output_padding", [0] * axes)),
        attributes.get("group", 1),
        tuple(attributes.get("dilations", [1] * axes)),
    )


_MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _pooled(is_max: bool) -> Function:
    def computed(attributes: Attributes, x: Tensor) -> Tensor:
        kernel = list(attributes["kernel_shape"])
        axes = len(kernel)
        pads = spatial_padding(attributes, list(x.shape[2:]), kernel)
        strides = list(attributes.get("strides", [1] * axes))
        up = bool(attributes.get("ceil_mode", 0))
        counts = bool(attributes.get("count_include_pad", 0)) or not any(pads)
        fits = is_symmetric(pads) and all(
            pad <= size // 2 for pad, size in zip(pads, kernel, strict=False)
        )
        if not fits and not is_max and not counts:
            raise UnsupportedOperatorError("its average pooling does not count its uneven padding")
        x = x if fits else padded(x, pads, -math.inf if is_max else 0.0)
        inner = pads[:axes] if fits else [0] * axes
        if is_max:
            steps = list(attributes.get("dilations", [1] * axes))
            return _MAX_POOLS[axes](x, kernel, strides, inner, steps, up)
        if any(step != 1 for step in attributes.get("dilations", ())):
            raise UnsupportedOperatorError("its average pooling is dilated")
        return _AVERAGE_POOLS[axes](x, kernel, strides, inner, up, counts)

    return computed


def _global(function: Function) -> Function:
    return lambda attributes, x: function(x, tuple(range(2, x.dim())), keepdim=True)


def _batch_norm(
    attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    if attributes.get("training_mode", 0):
        raise UnsupportedOperatorError("its batch normalisation is in training mode")
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


def _layer_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Any = None) -> Tensor:
    axis = attributes.get("axis", -1) % x.dim()
    return functional.layer_norm(x, x.shape[axis:], scale, bias, attributes.get("epsilon", 1e-5))


def _rms_norm(attributes: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    axis = attributes.get("axis", -1) % x.dim()
    return functional.rms_norm(x, tuple(x.shape[axis:]), scale, attributes.get("epsilon", 1e-5))


def _instance_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _group_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = attributes["num_groups"]
    if scale.shape[0] != x.shape[1]:  # opset 18 gives one number for each group
        scale, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (scale, bias))
    return functional.group_norm(x, groups, scale, bias, attributes.get("epsilon", 1e-5))


def _gelu(attributes: Attributes, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=attributes.get("approximate", "none"))


def _parametric_relu(attributes: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * as_tensor(slope, x), x)


def _local_response(attributes: Attributes, x: Tensor) -> Tensor:
    return functional.local_response_norm(
        x,
        attributes["size"],
        attributes.get("alpha", 1e-4),
        attributes.get("beta", 0.75),
        attributes.get("bias", 1.0),
    )


def _shape(attributes: Attributes, x: Any) -> Any:
    sizes = sizes_of(x) if isinstance(x, Tensor) else np.array(x.shape, np.int64)
    return sizes[attributes.get("start", 0) : attributes.get("end", None)]


COMPUTED: dict[str, Function] = {
    "Add": _binary(lambda a, b: a + b),
    "Sub": _binary(lambda a, b: a - b),
    "Mul": _binary(lambda a, b: a * b),
    "Div": _binary(_divided),
    "Pow": _powered,
    "Mod": _binary(torch.remainder),
    "Min": _extreme(torch.minimum),
    "Max": _extreme(torch.maximum),
    "Sum": lambda given, *values: sum(values[1:], values[0]),
    "Mean": lambda given, *values: sum(values[1:], values[0]) / len(values),
    "Equal": _binary(lambda a, b: a == b),
    "Greater": _binary(lambda a, b: a > b),
    "Less": _binary(lambda a, b: a < b),
    "GreaterOrEqual": _binary(lambda a, b: a >= b),
    "LessOrEqual": _binary(lambda a, b: a <= b),
    "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or),
    "Xor": _binary(torch.logical_xor),
    "Where": lambda given, chosen, one, other: torch.where(
        as_tensor(chosen), _operand(one, other), _operand(other, one)
    ),
    "Relu": _unary(functional.relu),
    "LeakyRelu": lambda given, x: functional.leaky_relu(x, given.get("alpha", 0.01)),
    "PRelu": _parametric_relu,
    "Elu": lambda given, x: functional.elu(x, given.get("alpha", 1.0)),
    "Celu": lambda given, x: functional.celu(x, given.get("alpha", 1.0)),
    "Selu": _unary(functional.selu),
    "Sigmoid": _unary(torch.sigmoid),
    "HardSigmoid": lambda given, x: torch.clamp(
        x * given.get("alpha", 0.2) + given.get("beta", 0.5), 0, 1
    ),
    "HardSwish": _unary(functional.hardswish),
    "Mish": _unary(functional.mish),
    "Softplus": _unary(functional.softplus),
    "Softsign": _unary(functional.softsign),
    "Gelu": _gelu,
    "Clip": _clipped,
    "Cast": _cast,
    "CastLike": lambda given, x, like: as_tensor(x).to(as_tensor(like).dtype),
    "Identity": lambda given, x: x,
    "Dropout": lambda given, x, *rest: x,
    "Not": _unary(torch.logical_not),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": lambda given, *values: torch.einsum(given["equation"], *values),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "MaxPool": _pooled(True),
    "AveragePool": _pooled(False),
    "GlobalAveragePool": _global(torch.mean),
    "GlobalMaxPool": _global(torch.amax),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LRN": _local_response,
    "Shape": _shape,
    "Size": lambda given, x: np.asarray(np.prod(sizes_of(x))),
}
COMPUTED |= {
    name: _unary(getattr(torch, name.lower()))
    for name in (
        *("Erf", "Exp", "Log", "Sqrt", "Neg", "Abs", "Floor", "Ceil", "Round", "Reciprocal"),
        *("Sin", "Cos", "Tan", "Tanh", "Sign", "Asin", "Acos", "Atan", "Sinh", "Cosh", "IsNaN"),
    )
}
