"""What ONNX operators compute, as PyTorch functions.

Every function takes the attributes of a node and its inputs in order, None for an input that is
left out, and returns its output or a tuple of them. Inputs are tensors, or host values as in
``host_values``. The meaning of operators follows the ONNX specification from opset 7 on; where an
attribute became an input in a later opset, both are read.
"""

import math
from collections.abc import Callable, Sequence
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

_INTEGERS = {
    **{"b": torch.bool, "u8": torch.uint8, "i8": torch.int8, "i16": torch.int16},
    **{"i32": torch.int32, "i": torch.int64},
}
# The factors of SELU, alpha and gamma.
_SELU = (1.6732632423543772, 1.0507009873554805)
# Largest tensor that an operator may make: 1 GiB in float32.
_MOST_NUMBERS = 2**28


class UnsupportedOperatorError(Exception):
    """An operator, or a setting of one, that cannot be run. The message is a clause.

    Args:
        message: what cannot be run.
        advice: what to do, an imperative.
    """

    def __init__(self, message: str, advice: str = "export the network without it") -> None:
        super().__init__(message)
        self.advice = advice


def refuse_large(sizes: Sequence[Any]) -> None:
    """Refuse to make a tensor that no network needs and that memory may not hold.

    Args:
        sizes: its sizes; open ones count as 1.
    """
    count = math.prod(each for each in sizes if isinstance(each, int))
    if count > _MOST_NUMBERS:
        message = f"it makes {count:,} numbers, more than {_MOST_NUMBERS:,}"
        raise UnsupportedOperatorError(message, "export the network for smaller sizes")


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


def _logical(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    return lambda attributes, one, other: function(as_tensor(one), as_tensor(other))


def _divided(attributes: Attributes, one: Any, other: Any) -> Tensor:
    left, right = _operand(one, other), _operand(other, one)
    if _is_whole(left) and _is_whole(right):
        return torch.div(as_tensor(one), as_tensor(other), rounding_mode="trunc")
    if not isinstance(left, Tensor) and not isinstance(right, Tensor):
        left = as_tensor(one)
    quotient: Tensor = left / right
    return quotient


def _is_whole(value: Any) -> bool:
    return not (
        value.is_floating_point() if isinstance(value, Tensor) else isinstance(value, float)
    )


def _remainder(attributes: Attributes, one: Any, other: Any) -> Tensor:
    # With fmod the sign is that of the dividend, otherwise that of the divisor.
    function = torch.fmod if attributes.get("fmod", 0) else torch.remainder
    left, right = (as_tensor(each) for each in (one, other))
    return function(left, right)


def _powered(attributes: Attributes, base: Any, exponent: Any) -> Tensor:
    power = _operand(exponent, base)
    if not isinstance(power, Tensor) and float(power).is_integer():
        power = int(power)
    base = as_tensor(base)
    return torch.pow(base, power).to(base.dtype)


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
    return tensor.to(_INTEGERS[kind])


def _dropped(
    attributes: Attributes, x: Tensor, ratio: Any = None, training: Any = None
) -> tuple[Tensor, Tensor]:
    """Return the values and the mask of a dropout, which keeps all values outside of training."""
    if training is not None and _number(training):
        raise UnsupportedOperatorError("its dropout is in training mode")
    return x, torch.ones_like(x, dtype=torch.bool)


def _sum(attributes: Attributes, *values: Any) -> Tensor:
    first, *others = [as_tensor(each) for each in values]
    for each in others:
        first = first + each
    return first


def _selu(attributes: Attributes, x: Tensor) -> Tensor:
    alpha, gamma = attributes.get("alpha", _SELU[0]), attributes.get("gamma", _SELU[1])
    if abs(alpha - _SELU[0]) + abs(gamma - _SELU[1]) < 1e-6:
        return functional.selu(x)
    return functional.elu(x, alpha) * gamma


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


def _batch_norm(
    attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    if attributes.get("training_mode", 0):
        raise UnsupportedOperatorError("its batch normalisation is in training mode")
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


def _layer_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Any = None) -> Any:
    axis, epsilon = attributes.get("axis", -1) % x.dim(), attributes.get("epsilon", 1e-5)
    result = functional.layer_norm(x, x.shape[axis:], scale, bias, epsilon)
    if attributes["outputs"] == 1:
        return result
    axes = list(range(axis, x.dim()))
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    return result, mean, (variance + epsilon).rsqrt()


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
    if attributes["size"] % 2 == 0:
        raise UnsupportedOperatorError("its local response normalisation is over an even size")
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
    "Div": _divided,
    "Pow": _powered,
    "Mod": _remainder,
    "Min": _extreme(torch.minimum),
    "Max": _extreme(torch.maximum),
    "Sum": _sum,
    "Mean": lambda given, *values: _sum(given, *values) / len(values),
    "Equal": _binary(lambda a, b: a == b),
    "Greater": _binary(lambda a, b: a > b),
    "Less": _binary(lambda a, b: a < b),
    "GreaterOrEqual": _binary(lambda a, b: a >= b),
    "LessOrEqual": _binary(lambda a, b: a <= b),
    "And": _logical(torch.logical_and),
    "Or": _logical(torch.logical_or),
    "Xor": _logical(torch.logical_xor),
    "Where": lambda given, chosen, one, other: torch.where(
        as_tensor(chosen), _operand(one, other), _operand(other, one)
    ),
    "Relu": _unary(functional.relu),
    "LeakyRelu": lambda given, x: functional.leaky_relu(x, given.get("alpha", 0.01)),
    "PRelu": _parametric_relu,
    "Elu": lambda given, x: functional.elu(x, given.get("alpha", 1.0)),
    "Celu": lambda given, x: functional.celu(x, given.get("alpha", 1.0)),
    "Selu": _selu,
    "Sigmoid": _unary(torch.sigmoid),
    "HardSigmoid": lambda given, x: torch.clamp(
        x * given.get("alpha", 0.2) + given.get("beta", 0.5), 0, 1
    ),
    "HardSwish": _unary(functional.hardswish),
    "Swish": lambda given, x: x * torch.sigmoid(x * given.get("alpha", 1.0)),
    "ThresholdedRelu": lambda given, x: torch.where(x > given.get("alpha", 1.0), x, 0.0),
    "Mish": _unary(functional.mish),
    "Softplus": _unary(functional.softplus),
    "Softsign": _unary(functional.softsign),
    "Gelu": _gelu,
    "Clip": _clipped,
    "Cast": _cast,
    "CastLike": lambda given, x, like: as_tensor(x).to(as_tensor(like).dtype),
    "Identity": lambda given, x: x,
    "Dropout": _dropped,
    "Not": _unary(torch.logical_not),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": lambda given, *values: torch.einsum(
        given["equation"], *(as_tensor(each) for each in values)
    ),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
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
        *("Asinh", "Acosh", "Atanh"),
    )
}

# Operators whose first input may stay a host value; every other takes a tensor.
MIXED = frozenset(
    (
        *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Equal", "Greater", "Less"),
        *("GreaterOrEqual", "LessOrEqual", "Where", "Concat", "Shape", "Size", "Identity"),
        *("ConstantOfShape", "Range"),
    )
)

# Operators whose weights and biases are tensors, even where they are single numbers.
WEIGHTED = frozenset(
    (
        *("Conv", "ConvTranspose", "MatMul", "Gemm", "LayerNormalization", "RMSNormalization"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "PRelu"),
    )
)
