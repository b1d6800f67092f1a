"""How values are represented during a run: torch tensors on the CPU, with floats as float32.

A float16 value is a float32 tensor whose elements are float16 numbers. Operators compute in
float32, and their results are rounded where MIL stores them: once, at the operator's output.
"""

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slide_deploy.saved.mlpackage import TensorType
from slide_deploy.saved.mlpackage.dtypes import DType

Value: TypeAlias = Tensor | str


# torch has few operators for uint16 and uint32, so they are held in the next larger signed type.
_HELD = {"float16": torch.float32, "uint16": torch.int32, "uint32": torch.int64} | {
    name: getattr(torch, name)
    for name in ("float32", "bool", "int8", "int16", "int32", "int64", "uint8")
}


def held_as(dtype: str) -> torch.dtype | None:
    """The torch dtype in which an element type is held, or None if it is not supported."""
    return _HELD.get(dtype)


def to_value(array: NDArray[np.generic]) -> Value | None:
    """Convert a constant or an input to a held value; None if its type is not supported."""
    if array.dtype == object:
        return str(array.item()) if array.size == 1 else None
    held = held_as(array.dtype.name)
    if held is None:
        return None
    # Weights are read-only, possibly unaligned views of a file, so torch needs a copy.
    copied = np.array(array, order="C", copy=True)
    return torch.from_numpy(copied).to(held)


def to_numpy(tensor: Tensor, dtype: DType) -> NDArray[np.generic]:
    """Return a copy of a held value, in the type that the program declares."""
    return np.array(tensor.to(getattr(torch, dtype.name)).numpy(), order="C", copy=True)


def settle(result: Tensor, declared: TensorType) -> Tensor:
    """Round an operator's result to its declared type.

    Raises:
        ValueError: if its shape or its kind of element differs from the declared one.
    """
    held = held_as(declared.dtype.name)
    if held is None:
        raise ValueError(f"declares {declared.dtype.name}, which is not supported")
    if _kind(result.dtype) != _kind(held):
        raise ValueError(f"outputs {result.dtype} where {declared.dtype.name} is declared")
    if declared.shape is not None and not fits(tuple(result.shape), declared.shape):
        raise ValueError(f"outputs shape {tuple(result.shape)} where {declared.shape} is declared")
    return result.to(getattr(torch, declared.dtype.name)).to(held)


def fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    """Return whether a shape matches a declared one, in which None means any size."""
    return len(shape) == len(declared) and all(
        size == expected or expected is None for size, expected in zip(shape, declared, strict=True)
    )


def _kind(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "bool"
    return "float" if dtype.is_floating_point else "integer"
