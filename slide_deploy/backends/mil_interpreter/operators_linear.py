"""Matmuls, and scaled dot-product attention."""

import math

import numpy as np
import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

# The only equations of MIL's einsum, with letters renamed in the order of their appearance.
_EINSUMS = ("abcd,adce->abce", "abc,cbd->abd")


def linear(call: OperatorCall) -> Tensor:
    """``x @ weight.T + bias``; weight (out, in), bias (out)."""
    x, weight, bias = call.tensor("x"), call.tensor("weight"), call.optional("bias")
    call.check_size((*x.shape[:-1], weight.shape[0]))
    return torch.nn.functional.linear(x, weight, bias)


def matmul(call: OperatorCall) -> Tensor:
    """``x @ y`` with broadcast batches; the last two axes of either may be transposed first."""
    x, y = _operand(call, "x"), _operand(call, "y")
    if x.dim() > 1 and y.dim() > 1:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        call.check_size((*batch, x.shape[-2], y.shape[-1]))
    return torch.matmul(x, y)


def einsum(call: OperatorCall) -> Tensor:
    """A matmul over the last axis of the first operand and the third last of the second."""
    equation, values = call.text("equation"), call.tensors("values")
    if _renamed(equation) not in _EINSUMS or len(values) != 2:
        raise call.unsupported(f"equation {equation}")
    x, y = values
    call.check_size(
        (
            *np.broadcast_shapes(x.shape[:-3], y.shape[:-3]),
            x.shape[-3],
            max(x.shape[-2], y.shape[-2]),
            y.shape[-1],
        )
    )
    return torch.einsum(_renamed(equation), x, y)


def scaled_dot_product_attention(call: OperatorCall) -> Tensor:
    """``softmax(q k^T / sqrt(E) + mask) v`` over the last two axes (tokens, E).

    A boolean mask selects the keys that take part; a mask of numbers is added to the logits.
    """
    query, key, value = call.tensor("query"), call.tensor("key"), call.tensor("value")
    if query.dim() < 3 or query.dim() != key.dim() or query.dim() != value.dim():
        raise call.faulty("needs three operands of one rank, at least 3")
    if not query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
        raise call.faulty("needs three operands of one batch")
    call.check_size((*query.shape[:-1], key.shape[-2]))
    logits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    mask = call.optional("attn_mask")
    if mask is not None and mask.dtype == torch.bool:
        logits = logits.masked_fill(~mask, -math.inf)
    elif mask is not None:
        logits = logits + mask
    return torch.softmax(logits, -1) @ value


def _operand(call: OperatorCall, name: str) -> Tensor:
    tensor = call.tensor(name)
    if not call.flag(f"transpose_{name}"):
        return tensor
    if tensor.dim() < 2:
        raise call.faulty(f"transposes {name}, which has one axis")
    return tensor.transpose(-2, -1)


def _renamed(equation: str) -> str:
    """Rename the letters of an equation to a, b, c in the order of their appearance."""
    plain = equation.replace(" ", "")
    letters = dict.fromkeys(letter for letter in plain if letter.isalpha())
    names = {letter: chr(ord("a") + index) for index, letter in enumerate(letters)}
    return "".join(names.get(letter, letter) for letter in plain)


OPERATORS: Operators = {
    "einsum": Operator(einsum, ("values", "equation")),
    "linear": Operator(linear, ("x", "weight"), ("bias",)),
    "matmul": Operator(matmul, ("x", "y"), ("transpose_x", "transpose_y")),
    "scaled_dot_product_attention": Operator(
        scaled_dot_product_attention, ("query", "key", "value"), ("attn_mask",)
    ),
}
