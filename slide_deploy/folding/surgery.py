"""Copy models, remove their wrappers, and replace modules in them."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from slide_deploy.errors import InputError


def copied(model: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Return a deep copy of a model. Modules shared in the model are shared in the copy.

    Args:
        model: model to copy. It may hold tensors that are part of an autograd graph, such as
            weights computed by ``weight_norm``, which ``copy.deepcopy`` alone refuses.
        memo: existing copies by the ``id`` of their originals, as in ``copy.deepcopy``. New copies
            are added.
    """
    memo = {} if memo is None else memo
    for module in model.modules():
        for tensor in _tensors(vars(module)):
            if not tensor.is_leaf and id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().clone()
    return copy.deepcopy(model, memo)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in plain containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Replace a module of a model.

    Args:
        model: model to change in place.
        name: name of the module to replace, as in ``named_modules``; empty for the model itself.
        module: the new module.

    Returns:
        The model, or ``module`` if the name is empty.
    """
    if not name:
        return module
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
    return model


def unwrapped(model: nn.Module, share_weights: bool = False) -> nn.Module:
    """Return a deep copy of a model without wrappers around it or inside it.

    Removed are ``DataParallel``, ``DistributedDataParallel``, ``AveragedModel`` and the result of
    ``torch.compile``. They compute what the wrapped module computes, but cannot be exported.

    Args:
        model: model to copy.
        share_weights: use the model's own parameters and buffers in the copy.

    Raises:
        InputError: if the model cannot be copied.
    """
    shared = (*model.parameters(), *model.buffers()) if share_weights else ()
    memo: dict[int, Any] = {id(each): each for each in shared}
    try:
        # Innermost modules come first, so that every copy is without wrappers.
        for module in reversed(list(model.modules())):
            inner = _wrapped(module)
            if inner is not None:
                memo[id(module)] = copied(inner, memo)
        return copied(model, memo)
    except Exception as error:  # any class of another project, any error
        text = str(error).partition("\n")[0][:120] or type(error).__name__
        raise InputError(
            f"The model cannot be copied ({text}): remove attributes that Python cannot copy, such "
            f"as locks and open files, from its layers."
        ) from error


def _wrapped(module: nn.Module) -> nn.Module | None:
    """Return the module inside a wrapper; None if the module is no wrapper."""
    if isinstance(module, DataParallel | DistributedDataParallel | AveragedModel):
        inner = module.module
    elif type(module).__name__ == "OptimizedModule":  # its class is slow to import
        inner = getattr(module, "_orig_mod", None)
    else:
        return None
    return inner if isinstance(inner, nn.Module) else None
