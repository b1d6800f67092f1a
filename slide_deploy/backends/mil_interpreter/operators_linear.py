"""Matrix products, and the attention that is made of two of them."""

import math

import numpy as np
import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import OperatorCall
from slide_deploy.backends.mil_interpreter.operator import Operator, Operators

# The only products that MIL's einsum knows, letters renamed in the order of their appearance.
_EINSUMS = ("abcd,adce->abce", "abc,cbd->abd")


def linear(call: OperatorCall) -> Tensor:
    """``x @ weight.T + bias``; weight (out, in), bias (out)."""
    x, weight, bias = call.tensor("x"), call.tensor("weight"), call.optional("bias")
    call.make_room((*x.shape[:-1], weight.shape[0]))
    return torch.nn.functional.linear(x, weight, bias)


def matmul(call: OperatorCall) -> Tensor:
    """``x @ y``, either one transposed in its last two axes first, batches broadcast."""
    x, y = _factor(call, "x"), _factor(call, "y")
    if x.dim() > 1 and y.dim() > 1:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        call.make_room((*batch, x.shape[-2], y.shape[-1]))
    return torch.matmul(x, y)


def einsum(call: OperatorCall) -> Tensor:
    """The sum of products over the last axis of one and the third last of the other."""
    equation, values = call.text("equation"), call.tensors("values")
    if _renamed(equation) not in _EINSUMS or len(values) != 2:
        raise call.unsupported(f"equation {equation}")
    x, y = values
    call.make_room(
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

    A mask of truth values says which tokens take part; a mask of numbers is added.
    """
    query, key, value = call.tensor("query"), call.tensor("key"), call.tensor("value")
    if query.dim() < 3 or query.dim() != key.dim() or query.dim() != value.dim():
        raise call.faulty("needs three operands of one rank, at least 3")
    if not query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
        raise call.faulty("needs three operands of one batch")
    call.make_room((*query.shape[:-1], key.shape[-2]))
    logits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    mask = call.optional("attn_mask")
    if mask is not None and mask.dtype == torch.bool:
        logits = logits.masked_fill(~mask, -math.inf)
    elif mask is not None:
        logits = logits + mask
    return torch.softmax(logits, -1) @ value


def _factor(call: OperatorCall, name: str) -> Tensor:
    tensor = call.tensor(name)
    if not call.flag(f"transpose_{name}"):
        return tensor
    if tensor.dim() < 2:
        raise call.faulty(f"transposes {name}, which has one axis")
    return tensor.transpose(-2, -1)


def _renamed(equation: str) -> str:
    """The equation with its letters renamed a, b, c in the order of their appearance."""
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
