"""Putting one module in the place of another."""

from torch import nn


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
