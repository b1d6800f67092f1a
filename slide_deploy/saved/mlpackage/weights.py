"""Read the weight file of a package through a memory map, and check every offset.

The file is little endian, and each part is aligned to 64 bytes::

    storage header   uint32 count of blobs, uint32 version (2), reserved to 64 bytes
    then, for every blob,
    blob header      uint32 0xDEADBEEF, uint32 element type, uint64 size in bytes,
                     uint64 offset of the data, uint64 unused bits at its end, reserved to 64
    data

The program refers to a blob by the offset of its header.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage.dtypes import DType, packed_bytes
from slide_deploy.saved.untrusted import damaged, file_inside, map_file

_STORAGE_HEADER = struct.Struct("<II56x")
_BLOB_HEADER = struct.Struct("<IIQQQ32x")
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_ALIGNMENT = 64
# The program's name for the folder of the model file.
_MODEL_FOLDER = "@model_path"


@dataclass(eq=False)
class PackageWeights:
    """The weight files of one package, each opened when the program first refers to it.

    The model file is in ``model_folder``, which is below the folder ``package``.
    """

    package: Path
    model_folder: PurePosixPath
    _files: dict[str, NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False)
    _read: dict[str, list[tuple[int, int]]] = field(default_factory=dict, init=False, repr=False)

    @property
    def places(self) -> Iterator[tuple[str, NDArray[np.uint8], list[tuple[int, int]]]]:
        """Each file, its bytes, and the ranges that were read: first byte, one after the last."""
        for file_name, content in self._files.items():
            yield file_name, content, self._read[file_name]

    def read(self, file_name: str, offset: int, dtype: DType, count: int) -> NDArray[np.uint8]:
        """Return the stored bytes of one blob, as a read-only view of the file.

        The program gives the file, for example ``@model_path/weights/weight.bin``, the offset of
        the blob's header, and the type and number of the elements. The view has the shape
        (``packed_bytes(count, dtype)``,).

        Raises:
            InputError: if the file or the blob does not match the program.
        """
        content = self._content(file_name)
        where = f"the blob at offset {offset} of {file_name}"
        if offset % _ALIGNMENT or offset + _BLOB_HEADER.size > content.size:
            raise damaged(self.package, f"{where} is not aligned or is outside the file")
        header = content[offset : offset + _BLOB_HEADER.size].tobytes()
        sentinel, code, size, start, unused_bits = _BLOB_HEADER.unpack(header)
        if sentinel != _SENTINEL:
            raise damaged(self.package, f"{where} has no blob header")
        if code != dtype.blob:
            raise damaged(
                self.package, f"{where} does not hold {dtype.name}, which the program declares"
            )
        if start + size > content.size:
            raise damaged(self.package, f"{where} ends after the end of the file")
        if size != packed_bytes(count, dtype):
            raise damaged(
                self.package, f"{where} holds {size} bytes where the program needs {count} elements"
            )
        if dtype.bits < 8 and unused_bits != size * 8 - count * dtype.bits:
            raise damaged(
                self.package, f"{where} has another number of elements than the program declares"
            )
        header_end = offset + _BLOB_HEADER.size
        self._read[file_name] += [(offset, header_end), (start, start + size)]
        return content[start : start + size]

    def _content(self, file_name: str) -> NDArray[np.uint8]:
        """Return the bytes of a weight file, shape (bytes,), whose header was checked."""
        if file_name not in self._files:
            self._files[file_name] = self._open(file_name)
            self._read[file_name] = [(0, _STORAGE_HEADER.size)]
        return self._files[file_name]

    def _open(self, file_name: str) -> NDArray[np.uint8]:
        folder, _, relative = file_name.partition("/")
        if folder != _MODEL_FOLDER:
            raise InputError(
                f"{self.package} refers to weights at {file_name!r}, which is not inside the "
                f"folder of the model: do not use it, and get it from a source that you trust."
            )
        path = file_inside(
            self.package, self.package, f"{self.model_folder}/{relative}", "its weight file"
        )
        content = map_file(self.package, path)
        if content.size < _STORAGE_HEADER.size:
            raise damaged(self.package, f"{file_name} is too short for its header")
        _, version = _STORAGE_HEADER.unpack(content[: _STORAGE_HEADER.size].tobytes())
        if version != _VERSION:
            raise damaged(self.package, f"{file_name} does not begin with a storage header")
        return content
