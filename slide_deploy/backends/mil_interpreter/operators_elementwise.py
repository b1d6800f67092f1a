"""Elementwise operators."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators
from slide_deploy.backends.mil_interpreter.values import held_as

# Names of types in ``cast`` that differ from the usual ones.
_CASTS = {"fp16": "float16", "fp32": "float32"}
_CAST_TYPES = ("float16", "float32", "bool", "int8", "int16", "int32", "uint8", "uint16")


def identity(call: OperatorCall) -> Tensor:
    """``x``."""
    return call.tensor("x")


def threshold(call: OperatorCall) -> Tensor:
    """``max(x, alpha)``."""
    return torch.maximum(call.tensor("x"), call.tensor("alpha").reshape(()))


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[OperatorCall], Tensor]:
    """The operator ``function(x, y)`` on operands of one type, broadcast to each other."""

    def run(call: OperatorCall) -> Tensor:
        x, y = call.tensor("x"), call.tensor("y")
        if x.dtype != y.dtype:
            raise call.faulty(f"mixes {x.dtype} and {y.dtype}")
        call.check_size(np.broadcast_shapes(x.shape, y.shape))
        return function(x, y)

    return run


def real_div(call: OperatorCall) -> Tensor:
    """``x / y`` of floating-point numbers."""
    if not call.tensor("x").is_floating_point():
        raise call.unsupported("integer operands")
    return binary(torch.true_divide)(call)


def rsqrt(call: OperatorCall) -> Tensor:
    """``1 / sqrt(x + epsilon)``."""
    return torch.rsqrt(call.tensor("x") + call.number("epsilon", 1e-12))


def log(call: OperatorCall) -> Tensor:
    """``log(x + epsilon)``."""
    return torch.log(call.tensor("x") + call.number("epsilon", 1e-45))


def inverse(call: OperatorCall) -> Tensor:
    """``1 / (x + epsilon)``."""
    return torch.reciprocal(call.tensor("x") + call.number("epsilon", 1e-4))


def clip(call: OperatorCall) -> Tensor:
    """``min(max(x, alpha), beta)``."""
    return call.tensor("x").clamp(call.number("alpha"), call.number("beta"))


def cast(call: OperatorCall) -> Tensor:
    """``x`` in another type; conversion to integers rounds towards zero."""
    dtype = _CASTS.get(call.text("dtype"), call.text("dtype"))
    held = held_as(dtype)
    if dtype not in _CAST_TYPES or held is None:
        raise call.unsupported(f"dtype {dtype}")
    if dtype != call.declared_dtype:
        raise call.faulty(f"casts to {dtype} where {call.declared_dtype} is declared")
    return call.tensor("x").to(held)


def select(call: OperatorCall) -> Tensor:
    """``a`` where ``cond`` is true, else ``b``; the three are broadcast to each other."""
    condition, a, b = call.tensor("cond"), call.tensor("a"), call.tensor("b")
    if condition.dtype != torch.bool or a.dtype != b.dtype:
        raise call.faulty("needs booleans and two operands of one type")
    call.check_size(np.broadcast_shapes(condition.shape, a.shape, b.shape))
    return torch.where(condition, a, b)


def unary(function: Callable[[Tensor], Tensor]) -> Operator:
    """Return the operator ``function(x)``."""
    return Operator(lambda call: function(call.tensor("x")), ("x",))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return Operator(binary(function), ("x", "y"))


OPERATORS: Operators = {
    # one operand
    "abs": unary(torch.abs),
    "acos": unary(torch.acos),
    "asin": unary(torch.asin),
    "atan": unary(torch.atan),
    "atanh": unary(torch.atanh),
    "cast": Operator(cast, ("x", "dtype")),
    "ceil": unary(torch.ceil),
    "clip": Operator(clip, ("x", "alpha", "beta")),
    "cos": unary(torch.cos),
    "cosh": unary(torch.cosh),
    "erf": unary(torch.erf),
    "exp": unary(torch.exp),
    "exp2": unary(torch.exp2),
    "floor": unary(torch.floor),
    "identity": Operator(identity, ("x",)),
    "inverse": Operator(inverse, ("x",), ("epsilon",)),
    "log": Operator(log, ("x",), ("epsilon",)),
    "logical_not": unary(torch.logical_not),
    "round": unary(torch.round),
    "rsqrt": Operator(rsqrt, ("x",), ("epsilon",)),
    "sign": unary(torch.sign),
    "sin": unary(torch.sin),
    "sinh": unary(torch.sinh),
    "sqrt": unary(torch.sqrt),
    "square": unary(torch.square),
    "tan": unary(torch.tan),
    "threshold": Operator(threshold, ("x", "alpha")),
    # two operands
    "add": _binary(torch.add),
    "equal": _binary(torch.eq),
    "floor_div": _binary(torch.floor_divide),
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "logical_and": _binary(torch.logical_and),
    "logical_or": _binary(torch.logical_or),
    "logical_xor": _binary(torch.logical_xor),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "mod": _binary(torch.remainder),
    "mul": _binary(torch.mul),
    "not_equal": _binary(torch.ne),
    "pow": _binary(torch.pow),
    "real_div": Operator(real_div, ("x", "y")),
    "sub": _binary(torch.sub),
    "select": Operator(select, ("cond", "a", "b")),
}
