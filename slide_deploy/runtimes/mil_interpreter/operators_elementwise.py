"""Operators that treat every element alike."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from slide_deploy.runtimes.mil_interpreter.call import Call
from slide_deploy.runtimes.mil_interpreter.values import representation

# Types as ``cast`` spells them; the names of the others are the usual ones.
_CASTS = {"fp16": "float16", "fp32": "float32"}
_CAST_TYPES = ("float16", "float32", "bool", "int8", "int16", "int32", "uint8", "uint16")


def unary(function: Callable[[Tensor], Tensor]) -> Callable[[Call], Tensor]:
    """The operator ``function(x)``."""

    def run(call: Call) -> Tensor:
        return function(call.tensor("x"))

    return run


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Call], Tensor]:
    """The operator ``function(x, y)`` on operands of one type, broadcast to each other."""

    def run(call: Call) -> Tensor:
        x, y = call.tensor("x"), call.tensor("y")
        if x.dtype != y.dtype:
            raise call.faulty(f"mixes {x.dtype} and {y.dtype}")
        call.make_room(np.broadcast_shapes(x.shape, y.shape))
        return function(x, y)

    return run


def real_div(call: Call) -> Tensor:
    """``x / y`` of floating point numbers."""
    if not call.tensor("x").is_floating_point():
        raise call.unsupported("integer operands")
    return binary(torch.true_divide)(call)


def rsqrt(call: Call) -> Tensor:
    """``1 / sqrt(x + epsilon)``."""
    return torch.rsqrt(call.tensor("x") + call.number("epsilon", 1e-12))


def log(call: Call) -> Tensor:
    """``log(x + epsilon)``."""
    return torch.log(call.tensor("x") + call.number("epsilon", 1e-45))


def inverse(call: Call) -> Tensor:
    """``1 / (x + epsilon)``."""
    return torch.reciprocal(call.tensor("x") + call.number("epsilon", 1e-4))


def clip(call: Call) -> Tensor:
    """``min(max(x, alpha), beta)``."""
    return call.tensor("x").clamp(call.number("alpha"), call.number("beta"))


def leaky_relu(call: Call) -> Tensor:
    """``x`` where it is not negative, else ``alpha * x``."""
    return torch.nn.functional.leaky_relu(call.tensor("x"), call.number("alpha"))


def relu6(x: Tensor) -> Tensor:
    """``min(max(x, 0), 6)``."""
    return x.clamp(0, 6)


def gelu(call: Call) -> Tensor:
    """``x`` times the normal distribution function of ``x``, exactly or by an approximation.

    - ``EXACT``: ``x/2 (1 + erf(x / sqrt 2))``
    - ``TANH_APPROXIMATION``: ``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``
    - ``SIGMOID_APPROXIMATION``: ``x sigmoid(1.702 x)``
    """
    x, mode = call.tensor("x"), call.text("mode", "EXACT")
    if mode == "EXACT":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise call.unsupported(f"mode {mode}")


def cast(call: Call) -> Tensor:
    """``x`` in another type; towards zero where that is an integer."""
    dtype = _CASTS.get(call.text("dtype"), call.text("dtype"))
    known = representation(dtype)
    if dtype not in _CAST_TYPES or known is None:
        raise call.unsupported(f"dtype {dtype}")
    if dtype != call.declared_dtype:
        raise call.faulty(f"casts to {dtype} where {call.declared_dtype} is declared")
    return call.tensor("x").to(known.held)


def select(call: Call) -> Tensor:
    """``a`` where ``cond`` holds, else ``b``; the three are broadcast to each other."""
    condition, a, b = call.tensor("cond"), call.tensor("a"), call.tensor("b")
    if condition.dtype != torch.bool or a.dtype != b.dtype:
        raise call.faulty("needs truth values and two operands of one type")
    call.make_room(np.broadcast_shapes(condition.shape, a.shape, b.shape))
    return torch.where(condition, a, b)


def identity(x: Tensor) -> Tensor:
    """``x``."""
    return x
