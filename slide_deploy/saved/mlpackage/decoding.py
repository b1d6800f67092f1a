"""Decode protobuf messages to the plain data of `program`, and check every declared size."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage.dtypes import BY_PROTO, DType, packed_bytes
from slide_deploy.saved.mlpackage.program import (
    Argument,
    BlobReference,
    Function,
    NamedType,
    Operation,
    OtherType,
    PackageBlock,
    PackageConstant,
    TensorType,
    Value,
    ValueReference,
    ValueType,
)
from slide_deploy.saved.mlpackage.weights import PackageWeights
from slide_deploy.saved.untrusted import damaged

# Core ML computes up to rank 5. Tables of palettes have two more dimensions than their weight.
MAX_RANK = 16
# 2**31 elements are 8 GiB of float32, far more than any tensor of a vision model on a device.
MAX_ELEMENTS = 1 << 31
# Operations, arguments and outputs together: ten times those of this project's largest models.
MAX_PARTS = 300_000

# Fields of TensorValue, with the element types that each may hold.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "floats": ("float32",),
    "doubles": ("float64",),
    "ints": ("int16", "uint16", "int32"),
    "longInts": ("int64",),
    "bools": ("bool",),
    "strings": ("string",),
}
_INTEGER_FIELDS = ("ints", "longInts")


class Decoder:
    """Decodes the messages of one package, whose folder is named in errors."""

    def __init__(self, package: Path, weights: PackageWeights) -> None:
        self._package = package
        self._weights = weights
        self._parts = 0

    def function(self, name: str, message: Any) -> Function:
        """Decode a ``MILSpec.Function``.

        Raises:
            InputError: if it has no body for the operator set that it chooses, or is damaged.
        """
        if message.opset not in message.block_specializations:
            raise damaged(
                self._package, f"function {name!r} has no body for operator set {message.opset!r}"
            )
        block = self._block(message.block_specializations[message.opset])
        return Function(name, message.opset, self._named_types(message.inputs), block)

    def _block(self, message: Any) -> PackageBlock:
        self._count(message.operations)
        operations = tuple(self._operation(operation) for operation in message.operations)
        return PackageBlock(self._named_types(message.inputs), operations, tuple(message.outputs))

    def _operation(self, message: Any) -> Operation:
        outputs = self._named_types(message.outputs)
        attributes = {key: self._value(value) for key, value in message.attributes.items()}
        return Operation(
            type=message.type,
            name=_text(attributes.pop("name", ())) or (outputs[0].name if outputs else ""),
            inputs={
                key: self._arguments(argument.arguments) for key, argument in message.inputs.items()
            },
            outputs=outputs,
            attributes=attributes,
            blocks=tuple(self._block(block) for block in message.blocks),
        )

    def _arguments(self, messages: Any) -> tuple[Argument, ...]:
        self._count(messages)
        return tuple(self._argument(message) for message in messages)

    def _argument(self, message: Any) -> Argument:
        if message.WhichOneof("binding") == "value":
            return self._value(message.value)
        return ValueReference(message.name)

    def _count(self, messages: Any) -> None:
        """Refuse a program with too many parts to decode in reasonable memory and time."""
        self._parts += len(messages)
        if self._parts > MAX_PARTS:
            raise damaged(self._package, f"its program has more than {MAX_PARTS} parts")

    def _named_types(self, messages: Any) -> tuple[NamedType, ...]:
        self._count(messages)
        return tuple(NamedType(message.name, self._type(message.type)) for message in messages)

    def _type(self, message: Any) -> ValueType:
        kind = message.WhichOneof("type")
        if kind is None:
            raise damaged(self._package, "a value has no type")
        if kind != "tensorType":
            return OtherType(kind.removesuffix("Type"))
        tensor = message.tensorType
        dtype = BY_PROTO.get(tensor.dataType)
        if dtype is None:
            raise damaged(self._package, f"{tensor.dataType} is not a known element type")
        return TensorType(dtype, self._shape(tensor))

    def _shape(self, message: Any) -> tuple[int | None, ...] | None:
        dimensions = message.dimensions
        if message.rank < 0 or any(dimension.unknown.variadic for dimension in dimensions):
            return None
        if message.rank != len(dimensions) or message.rank > MAX_RANK:
            raise damaged(
                self._package, f"a tensor of rank {message.rank} has {len(dimensions)} dimensions"
            )
        shape = tuple(
            dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else None
            for dimension in dimensions
        )
        if math.prod(size or 1 for size in shape) > MAX_ELEMENTS:
            raise damaged(self._package, f"a tensor has the absurd shape {shape}")
        return shape

    def _value(self, message: Any) -> Value:
        source = message.WhichOneof("value")
        immediate = message.immediateValue
        kind = immediate.WhichOneof("value") if source == "immediateValue" else None
        if kind in ("list", "tuple"):
            return tuple(self._value(item) for item in getattr(immediate, kind).values)
        if kind == "dictionary":
            return tuple(
                (self._value(pair.key), self._value(pair.value))
                for pair in immediate.dictionary.values
            )
        if source is None or (kind is None and source == "immediateValue"):
            raise damaged(self._package, "a constant has no value")
        return self._constant(message)

    def _constant(self, message: Any) -> PackageConstant:
        value_type = self._type(message.type)
        if not isinstance(value_type, TensorType):
            raise damaged(self._package, f"a constant of type {value_type.kind} holds a tensor")
        dtype, shape = value_type.dtype, value_type.shape
        if not dtype.storage:
            raise InputError(
                f"{self._package} has a constant of type {dtype.name}, which slide-deploy cannot "
                f"read: export it with float16 or float32 weights."
            )
        if shape is None:
            raise damaged(self._package, "a constant has no known rank")
        sizes = tuple(size for size in shape if size is not None)
        if len(sizes) != len(shape):
            raise damaged(self._package, f"a constant has the unknown shape {shape}")
        if message.WhichOneof("value") == "blobFileValue":
            return self._blob(message.blobFileValue, dtype, sizes)
        return self._immediate(message.immediateValue.tensor, dtype, sizes)

    def _blob(self, message: Any, dtype: DType, shape: tuple[int, ...]) -> PackageConstant:
        reference = BlobReference(message.fileName, message.offset)
        stored = self._weights.read(reference.file_name, reference.offset, dtype, math.prod(shape))
        return PackageConstant(dtype, shape, stored, packed=True, blob=reference)

    def _immediate(self, message: Any, dtype: DType, shape: tuple[int, ...]) -> PackageConstant:
        field, count = message.WhichOneof("value"), math.prod(shape)
        if field == "bytes" and dtype.name not in ("bool", "string"):
            stored: NDArray[np.generic] = np.frombuffer(message.bytes.values, np.uint8)
            if stored.size != packed_bytes(count, dtype):
                raise self._miscounted(dtype, shape)
            return PackageConstant(dtype, shape, stored, packed=True)
        if dtype.name not in _FIELDS.get(field or "", ()):
            raise damaged(self._package, f"a {dtype.name} constant is stored as {field}")
        values = getattr(message, field).values
        if len(values) != count:
            raise self._miscounted(dtype, shape)
        if field not in _INTEGER_FIELDS:
            return PackageConstant(dtype, shape, np.array(values, dtype=dtype.storage))
        wide = np.array(values, dtype=np.int64)
        elements = wide.astype(dtype.storage)
        if not np.array_equal(elements, wide):
            raise damaged(self._package, f"a {dtype.name} constant is out of range")
        return PackageConstant(dtype, shape, elements)

    def _miscounted(self, dtype: DType, shape: tuple[int, ...]) -> InputError:
        return damaged(
            self._package,
            f"a {dtype.name} constant of shape {shape} has another number of elements",
        )


def _text(value: Value) -> str:
    """Return the string that a literal holds; empty if it holds something else."""
    if (
        isinstance(value, PackageConstant)
        and value.dtype.name == "string"
        and value.stored.size == 1
    ):
        return str(value.stored[0])
    return ""
