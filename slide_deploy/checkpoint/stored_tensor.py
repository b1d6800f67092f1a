"""A tensor of a file: its shape and type, how to read its numbers, and the checks on them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from slide_deploy.errors import InputError

_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What to do about tensors of unsupported kinds.
_ADVICE = {
    "quantised": "use the floating-point weights that it was made from",
    "sparse": "save what its to_dense() gives",
    "meta": "it has no numbers; save the model after its weights were loaded",
    "special": "save a plain one; of a distributed tensor that is what its full_tensor() gives",
    "lazily negated": "save what its resolve_neg() and resolve_conj() give",
}


class UnreadableTensor(ValueError):
    """The numbers of a tensor are missing. The message continues a sentence after its name."""


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor whose numbers stay in the file until ``read`` is called.

    Attributes:
        shape: its shape.
        dtype: its type; None for an unsupported tensor.
        load: reads the numbers into a new tensor of that shape and type; None if unsupported.
        unsupported: the kind of an unsupported tensor, such as "sparse" or "quantised"; else empty.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None = None
    load: Callable[[], Tensor] | None = None
    unsupported: str = ""

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def read(self, name: str) -> Tensor:
        """Read the numbers.

        Raises:
            InputError: it is not a plain tensor, or the file does not hold its numbers.
        """
        if self.load is None:
            advice = _ADVICE.get(self.unsupported, "save plain tensors of floating-point numbers")
            raise InputError(f"{name} is a {self.unsupported} tensor: {advice}.")
        try:
            return self.load()
        except UnreadableTensor as error:
            raise InputError(f"{name} {error}: copy the file again.") from error
        except (RuntimeError, ValueError, OSError, OverflowError, MemoryError) as error:
            raise InputError(f"{name} cannot be read ({error}): copy the file again.") from error


@dataclass(frozen=True)
class Storage:
    """A range of bytes in a file, of which tensors are views.

    Attributes:
        dtype: type of its elements; None if each view has its own.
        size: returns the number of bytes.
        load: given ``first`` and ``count``, reads ``count`` bytes from byte ``first`` on.
    """

    dtype: torch.dtype | None
    size: Callable[[], int]
    load: Callable[[int, int], bytearray]

    def view(
        self, dtype: torch.dtype, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> StoredTensor:
        """A tensor whose first element is element ``offset`` of the storage."""

        def read() -> Tensor:
            count = math.prod(shape)
            reach = _reach(shape, strides)
            item = dtype.itemsize
            if offset < 0 or (offset + reach) * item > self.size():
                raise UnreadableTensor("reaches beyond what is stored")
            if count > reach:
                # With a stride of zero, a small file can claim a tensor larger than any memory.
                raise UnreadableTensor("claims more elements than are stored")
            if not count:
                return torch.empty(shape, dtype=dtype)
            data = self.load(offset * item, reach * item)
            flat = torch.frombuffer(data, dtype=dtype)
            return flat.as_strided(shape, strides).contiguous()

        return StoredTensor(shape, dtype, read)


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """The number of elements from the first to the last one of a view, both included."""
    if len(shape) != len(strides) or any(side < 0 for side in shape) or min(strides, default=0) < 0:
        raise UnreadableTensor("has a shape and strides that do not fit")
    if 0 in shape:
        return 0
    return 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))


def as_float32(name: str, tensor: Tensor) -> Tensor:
    """Convert weights to float32.

    Raises:
        InputError: the type is that of a quantised network, whose numbers need a scale.
    """
    if tensor.dtype not in _WEIGHT_TYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise InputError(
            f"{name} is of type {kind}, not floating point of 16 bits or more: use the weights "
            f"from which the quantised network was made."
        )
    return tensor.float()


def refuse_not_finite(name: str, tensor: Tensor) -> None:
    """Check that all weights are finite.

    Raises:
        InputError: one is NaN or infinite.
    """
    if not torch.isfinite(tensor).all():
        raise InputError(
            f"{name} holds NaN or infinity, or overflows float32: training failed or the file is "
            f"damaged; use an earlier checkpoint."
        )
