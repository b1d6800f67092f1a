"""Modules that only carry another one: for training on many devices, or compiled.

They compute what the module in them computes, and none of them exports.
"""

from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from slide_deploy.errors import InputError
from slide_deploy.folding.surgery import copied


def unwrapped(model: nn.Module) -> nn.Module:
    """A deep copy of a model without wrappers, neither around it nor within it.

    Taken off are ``DataParallel``, ``DistributedDataParallel``, ``AveragedModel`` and what
    ``torch.compile`` answers. What is shared within the model is shared within the copy.

    Args:
        model: left as it is.

    Raises:
        InputError: if it cannot be copied.
    """
    memo: dict[int, Any] = {}
    try:
        # The innermost come first, so that every copy is without wrappers.
        for module in reversed(list(model.modules())):
            carried = _carried(module)
            if carried is not None:
                memo[id(module)] = copied(carried, memo)
        return copied(model, memo)
    except Exception as error:  # any class of another project, any error
        text = str(error).partition("\n")[0][:120] or type(error).__name__
        raise InputError(
            f"The model cannot be copied ({text}): take what Python cannot copy off its layers, "
            f"such as locks and open files."
        ) from error


def _carried(module: nn.Module) -> nn.Module | None:
    if isinstance(module, DataParallel | DistributedDataParallel | AveragedModel):
        inner = module.module
    elif type(module).__name__ == "OptimizedModule":  # its class is slow to import
        inner = getattr(module, "_orig_mod", None)
    else:
        return None
    return inner if isinstance(inner, nn.Module) else None
