"""Weights as they are computed with: their type, and whether they are numbers at all."""

import torch
from torch import Tensor

from slide_deploy.errors import InputError

_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def as_float32(name: str, tensor: Tensor) -> Tensor:
    """Weights in float32.

    Raises:
        InputError: for types of quantised networks, whose numbers mean nothing without a scale.
    """
    if tensor.dtype not in _WEIGHT_TYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InputError(
            f"{name} is of type {kind}: expected floating point of 16 bits or more; use the "
            f"weights that a quantised network was made from."
        )
    return tensor.float()


def refuse_not_finite(name: str, tensor: Tensor) -> None:
    """Refuse weights of which one is NaN or infinite.

    Raises:
        InputError: if so.
    """
    if not torch.isfinite(tensor).all():
        raise InputError(
            f"{name} holds NaN or infinity, or overflows float32: training failed or the file is "
            f"damaged; use an earlier checkpoint."
        )
