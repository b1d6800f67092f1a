"""Copies of models, and one module in the place of another."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def copied(model: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """A deep copy of a model; what is shared within the model is shared within the copy.

    Args:
        model: left as it is. Weights that it computes from others, as ``weight_norm`` does, and
            values that it keeps may be part of a graph, which ``copy.deepcopy`` alone refuses.
        memo: copies that stand already, by the ``id`` of their originals, as ``copy.deepcopy``
            keeps them; added to.
    """
    memo = {} if memo is None else memo
    for module in model.modules():
        for tensor in _tensors(vars(module)):
            if not tensor.is_leaf and id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().clone()
    return copy.deepcopy(model, memo)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Tensors within plain containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put a module where the one of that name is.

    Args:
        model: changed in place.
        name: of the module to replace, as ``named_modules`` gives it; empty for the model itself.
        module: the new one.

    Returns:
        The model, or ``module`` where the name is empty.
    """
    if not name:
        return module
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
    return model
