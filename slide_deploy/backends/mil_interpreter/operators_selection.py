"""Operators that sort or select elements by their values."""

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import Operator, OperatorCall, Operators

_INDEX_TYPES = ("int32", "uint16")


def argsort(call: OperatorCall) -> Tensor:
    """The indices that sort the elements along an axis, by default in descending order."""
    return _sorted(call)[1]


def topk(call: OperatorCall) -> list[Tensor]:
    """The first ``k`` sorted elements along an axis, and their indices; -1 takes all."""
    values, indices = _sorted(call)
    axis, k = call.axis("axis", values.dim(), -1), call.integer("k", 1)
    count = values.shape[axis] if k == -1 else k
    if not 0 <= count <= values.shape[axis]:
        raise call.faulty(f"takes {k} of {values.shape[axis]} elements")
    if call.text("output_indices_dtype", _INDEX_TYPES[0]) not in _INDEX_TYPES:
        raise call.unsupported(f"output_indices_dtype {call.text('output_indices_dtype')}")
    chosen = [values.narrow(axis, 0, count), indices.narrow(axis, 0, count)]
    return chosen if not call.has("return_indices") or call.flag("return_indices") else chosen[:1]


def non_zero(call: OperatorCall) -> Tensor:
    """The coordinates of the elements that are not zero, shape (elements, rank)."""
    return call.tensor("x").nonzero()


def one_hot(call: OperatorCall) -> Tensor:
    """A new axis that is ``on_value`` at the index and ``off_value`` elsewhere."""
    indices, size = call.tensor("indices"), call.integer("one_hot_vector_size")
    axis = call.axis("axis", indices.dim() + 1, -1)
    if size < 0:
        raise call.faulty(f"makes vectors of {size} elements")
    call.check_size((*indices.shape, size))
    hit = (indices.unsqueeze(-1) == torch.arange(size)).movedim(-1, axis)
    on = call.tensor("on_value") if call.has("on_value") else torch.tensor(1)
    off = call.tensor("off_value") if call.has("off_value") else torch.tensor(0)
    return torch.where(hit, on.reshape(()), off.reshape(()))


def _sorted(call: OperatorCall) -> tuple[Tensor, Tensor]:
    """Return the elements and their indices, sorted stably along an axis."""
    x = call.tensor("x")
    axis = call.axis("axis", x.dim(), -1)
    values, indices = torch.sort(x, dim=axis, descending=not call.flag("ascending"), stable=True)
    return values, indices


OPERATORS: Operators = {
    "argsort": Operator(argsort, ("x",), ("axis", "ascending")),
    "non_zero": Operator(non_zero, ("x",)),
    "one_hot": Operator(
        one_hot, ("indices", "one_hot_vector_size"), ("axis", "on_value", "off_value")
    ),
    "topk": Operator(
        topk,
        ("x",),
        ("k", "axis", "ascending", "sort", "return_indices", "output_indices_dtype"),
    ),
}
