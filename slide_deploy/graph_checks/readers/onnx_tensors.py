"""Tensors of ONNX files: their bytes, inside or outside the file, with every size checked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.graph import Constant, elements_of
from slide_deploy.graph_checks.readers.left_over import Place
from slide_deploy.graph_checks.readers.limits import check_bytes, checked_shape, short
from slide_deploy.saved.untrusted import damaged, file_inside, map_file

Bytes = Callable[[], NDArray[np.uint8]]

# TensorProto.DataType: dtype name, bits of an element in raw data, field and type of typed data.
_TYPES: dict[int, tuple[str, int, str, str]] = {
    1: ("float32", 32, "float_data", "<f4"),
    2: ("uint8", 8, "int32_data", "u1"),
    3: ("int8", 8, "int32_data", "i1"),
    4: ("uint16", 16, "int32_data", "<u2"),
    5: ("int16", 16, "int32_data", "<i2"),
    6: ("int32", 32, "int32_data", "<i4"),
    7: ("int64", 64, "int64_data", "<i8"),
    9: ("bool", 8, "int32_data", "u1"),
    10: ("float16", 16, "int32_data", "<u2"),
    11: ("float64", 64, "double_data", "<f8"),
    12: ("uint32", 32, "uint64_data", "<u4"),
    13: ("uint64", 64, "uint64_data", "<u8"),
    14: ("complex64", 64, "float_data", "<f4"),
    15: ("complex128", 128, "double_data", "<f8"),
    16: ("bfloat16", 16, "int32_data", "<u2"),
    17: ("float8e4m3fn", 8, "int32_data", "u1"),
    18: ("float8e4m3fnuz", 8, "int32_data", "u1"),
    19: ("float8e5m2", 8, "int32_data", "u1"),
    20: ("float8e5m2fnuz", 8, "int32_data", "u1"),
    21: ("uint4", 4, "int32_data", "u1"),
    22: ("int4", 4, "int32_data", "u1"),
    23: ("float4e2m1", 4, "int32_data", "u1"),
    24: ("float8e8m0", 8, "int32_data", "u1"),
    25: ("uint2", 2, "int32_data", "u1"),
    26: ("int2", 2, "int32_data", "u1"),
}
_STRING = 8
_EXTERNAL = 1


def type_name(code: int) -> str:
    """The dtype name of a ``TensorProto.DataType``."""
    if code == _STRING:
        return "string"
    return _TYPES[code][0] if code in _TYPES else "undefined"


@dataclass(eq=False)
class TensorReader:
    """Turns the tensors of one file into constants.

    Args:
        path: the model file.
        external: the opened data files, by their path.
        read: the places of the tensors in each data file.
    """

    path: Path
    external: dict[Path, NDArray[np.uint8]] = field(default_factory=dict)
    read: dict[Path, list[Place]] = field(default_factory=dict)

    def constant(self, name: str, tensor: Any) -> Constant:
        """A ``TensorProto`` as a constant.

        Raises:
            InputError: its data do not fit its shape and type.
        """
        shape = checked_shape(self.path, name, tensor.dims)
        if tensor.data_type == _STRING:
            return self._strings(name, shape, tensor)
        if tensor.data_type not in _TYPES:
            raise damaged(self.path, f"{short(name)} has the unknown type {tensor.data_type}")
        dtype, bits, typed_field, stored_as = _TYPES[tensor.data_type]
        if tensor.data_location == _EXTERNAL:
            source, size, load = self._outside(name, tensor)
        elif tensor.HasField("raw_data"):
            raw = tensor.raw_data
            source, size, load = name, len(raw), lambda: np.frombuffer(raw, np.uint8)
        else:
            source, size, load = name, *self._typed(name, tensor, typed_field, stored_as)
        check_bytes(self.path, name, shape, bits, size)
        return Constant(name, dtype, shape, size, source, load)

    def _strings(self, name: str, shape: tuple[int, ...], tensor: Any) -> Constant:
        if len(tensor.string_data) != elements_of(shape):
            raise damaged(self.path, f"{short(name)} has other than its strings")
        text = b"\0".join(tensor.string_data)
        return Constant(
            name, "string", shape, len(text), name, lambda: np.frombuffer(text, np.uint8)
        )

    def _typed(self, name: str, tensor: Any, field: str, stored_as: str) -> tuple[int, Bytes]:
        numbers = getattr(tensor, field)
        itemsize = np.dtype(stored_as).itemsize

        def load() -> NDArray[np.uint8]:
            try:
                return np.fromiter(numbers, stored_as, len(numbers)).view(np.uint8)
            except OverflowError as error:
                raise damaged(self.path, f"{short(name)} has numbers out of range") from error

        return len(numbers) * itemsize, load

    def _outside(self, name: str, tensor: Any) -> tuple[str, int, Bytes]:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = file_inside(
            self.path, self.path.parent, entries.get("location", ""), "its data file"
        )
        if file not in self.external:
            self.external[file] = map_file(self.path, file)
            self.read[file] = []
        content = self.external[file]
        try:
            start = int(entries.get("offset", "0"))
            size = int(entries.get("length", str(content.size - start)))
        except ValueError as error:
            raise damaged(self.path, f"{short(name)} has no readable place in its data") from error
        if start < 0 or size < 0 or start + size > content.size:
            raise InputError(
                f"{self.path} is damaged: {short(name)} ends behind the end of {file.name}; copy "
                f"both files again."
            )
        self.read[file].append((start, start + size))
        return f"{file}:{start}:{size}", size, lambda: content[start : start + size]
