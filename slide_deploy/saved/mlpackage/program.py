"""A MIL program as plain data, which the interpreter and the graph rules read.

A function holds one block, a block holds its operations in order, and an operation has named
arguments. An argument is a literal or a reference to an earlier value. Literals are decoded to
numpy on request, so that opening a large package reads none of its weights.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from slide_deploy.saved.mlpackage.dtypes import DType, decode


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape; a rank of 0 is a scalar.

    Attributes:
        dtype: element type.
        shape: one size per dimension, None for each that is known only at run time; None as a whole
            if the rank is unknown.
    """

    dtype: DType
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class OtherType:
    """A type that is not a tensor: ``list``, ``tuple``, ``dictionary`` or ``state``."""

    kind: str


ValueType: TypeAlias = TensorType | OtherType


@dataclass(frozen=True, slots=True)
class NamedType:
    """The name and the type of an input or of an operation's output."""

    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class ValueReference:
    """An argument that refers to a value by name."""

    name: str


@dataclass(frozen=True, slots=True)
class BlobReference:
    """Where a literal is stored: the weight file and the offset of the blob's header."""

    file_name: str
    offset: int


@dataclass(frozen=True, eq=False, slots=True)
class PackageConstant:
    """A literal tensor.

    Attributes:
        dtype: element type.
        shape: with every size known.
        stored: the elements, shape (count,); if ``packed``, the bytes that hold them.
        packed: whether ``stored`` holds bytes.
        blob: its location in a weight file; None if it is in the program itself.
    """

    dtype: DType
    shape: tuple[int, ...]
    stored: NDArray[np.generic]
    packed: bool = False
    blob: BlobReference | None = None

    def numpy(self) -> NDArray[np.generic]:
        """Return the elements in their shape, possibly as a read-only view of the weight file."""
        elements = self.stored
        if self.packed:
            count = int(np.prod(self.shape, dtype=np.int64))
            elements = decode(self.stored.view(np.uint8), self.dtype, count)
        return elements.reshape(self.shape)


Value: TypeAlias = "PackageConstant | tuple[Value, ...]"
"""A literal: a tensor or a list; a dictionary is a list of key and value pairs."""

Argument: TypeAlias = "ValueReference | Value"


@dataclass(frozen=True, eq=False, slots=True)
class Operation:
    """One operation.

    Attributes:
        type: the operator, ``conv`` for example.
        name: its own name, or that of its first output if the file has none.
        inputs: arguments by parameter; several if the parameter is a list of tensors.
        outputs: the values that it computes.
        attributes: literals by parameter; ``val`` of a ``const``, parameters of old ``constexpr_``.
        blocks: bodies of control flow.
    """

    type: str
    name: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[NamedType, ...]
    attributes: Mapping[str, Value]
    blocks: tuple["PackageBlock", ...]


@dataclass(frozen=True, eq=False, slots=True)
class PackageBlock:
    """Operations in the order of their execution, and the names of the block's outputs."""

    inputs: tuple[NamedType, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """A function of the program: its inputs, and its body for the operator set that it chooses.

    Attributes:
        opset: operator set, ``CoreML7`` for example.
    """

    name: str
    opset: str
    inputs: tuple[NamedType, ...]
    block: PackageBlock

    @property
    def opset_version(self) -> int:
        """Version of the operator set: 5 is iOS 15, 7 is iOS 17, 0 is an unknown one."""
        match = re.fullmatch(r"CoreML(\d{1,3})", self.opset)
        return int(match[1]) if match else 0
