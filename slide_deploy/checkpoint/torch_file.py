"""Read a file of ``torch.save`` as plain data, without running code from it.

Since PyTorch 1.6 such a file is a zip archive: ``data.pkl`` holds the structure and ``data/KEY``
the bytes of each storage. Before, it was four pickles in sequence, followed by the storages, each
preceded by its number of elements. Both kinds are mapped into memory, so only the requested tensors
are read.
"""

import mmap
import zipfile
from pathlib import Path
from typing import Any

import torch

from slide_deploy.checkpoint.file_kind import members_of
from slide_deploy.checkpoint.known_objects import BUILDERS, STORAGE_TYPES
from slide_deploy.checkpoint.stored_tensor import Storage
from slide_deploy.checkpoint.unpickle import GlobalName, MalformedPickle, Rejected, unpickle
from slide_deploy.errors import InputError

# The first number in a file of PyTorch before 1.6.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LOCAL_HEADER = 30
"""Size in bytes of a zip archive's local header before the name."""


def read_torch(path: Path) -> Any:
    """Read the structure of a file, not empty, that ``torch.save`` or ``pickle.dump`` wrote.

    Returns:
        Plain data, with a ``StoredTensor`` for each tensor and a ``Placeholder`` for other objects.

    Raises:
        InputError: the file is of another kind, or is damaged.
    """
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return read_torch_bytes(path, data)


def read_torch_bytes(path: Path, data: "mmap.mmap | memoryview") -> Any:
    """Read the structure of bytes that ``torch.save`` wrote, a whole file or part of one.

    Raises:
        InputError: as for ``read_torch``.
    """
    try:
        if bytes(data[:4]) == b"PK\x03\x04":
            return _read_archive(path, data)
        return _read_pickles(data)
    except MalformedPickle as error:
        raise InputError(
            f"{path} is damaged or not a PyTorch checkpoint ({error}): copy it again."
        ) from error


def _read_archive(path: Path, data: "mmap.mmap | memoryview") -> Any:
    try:
        members = members_of(_Reader(data))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise MalformedPickle(str(error)) from error
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise MalformedPickle("it has no data.pkl")
    if any(item.compress_type != zipfile.ZIP_STORED for item in members.values()):
        # A compressed archive may expand to any size; PyTorch stores tensors uncompressed.
        raise InputError(f"{path} is a compressed archive: save it with torch.save again.")
    root = roots[0]

    def content(name: str) -> memoryview:
        item = members.get(root + name)
        if item is None:
            raise MalformedPickle(f"it lacks {name}")
        header = bytes(data[item.header_offset : item.header_offset + _LOCAL_HEADER])
        skipped = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        first = item.header_offset + _LOCAL_HEADER + skipped
        if len(header) < _LOCAL_HEADER or first + item.file_size > len(data):
            raise MalformedPickle(f"{name} is not whole")
        return memoryview(data)[first : first + item.file_size]

    if f"{root}byteorder" in members and bytes(content("byteorder")) != b"little":
        raise InputError(f"{path} was written on a big-endian machine: save it again on another.")

    def storage(identifier: Any) -> Storage:
        dtype, key = _storage_identifier(identifier)
        stored = content(f"data/{key}")

        def load(first: int, count: int) -> bytearray:
            return bytearray(stored[first : first + count])

        return Storage(dtype, lambda: len(stored), load)

    return unpickle(_Reader(content("data.pkl")), BUILDERS, storage)


def _read_pickles(data: "mmap.mmap | memoryview") -> Any:
    """Read a file of PyTorch before 1.6, or a plain pickle."""
    stream = _Reader(data)
    first = unpickle(stream, BUILDERS | {"torch.storage._load_from_bytes": _nested_storage})
    if first != _LEGACY_MAGIC:
        if isinstance(first, int | float | str | bytes | bool | type(None)):
            raise MalformedPickle("it begins with no structure of tensors")
        return first
    return _read_legacy(stream, data)


def _read_legacy(stream: "_Reader", data: "mmap.mmap | memoryview") -> Any:
    """Read a file of PyTorch before 1.6 after its first number."""
    places: dict[str, tuple[int, int]] = {}
    sizes: dict[str, int] = {}

    def storage(identifier: Any) -> Storage:
        dtype, key = _storage_identifier(identifier)
        view = identifier[5] if len(identifier) > 5 else None
        skipped = view[1] if isinstance(view, tuple) and len(view) == 3 else 0
        item = (dtype or torch.uint8).itemsize
        shift = skipped * item if isinstance(skipped, int) else 0
        sizes[key] = item

        def load(start: int, count: int) -> bytearray:
            begin = places[key][0] + shift + start
            return bytearray(data[begin : begin + count])

        return Storage(dtype, lambda: places[key][1] - shift, load)

    unpickle(stream, BUILDERS)  # the version of the format
    unpickle(stream, BUILDERS)  # byte order and sizes of integers of the machine
    content = unpickle(stream, BUILDERS, storage)
    keys = unpickle(stream, BUILDERS)
    for key in keys if isinstance(keys, list) else []:
        count = int.from_bytes(stream.read(8), "little")
        size = count * sizes.get(key, 1)
        if stream.position + size > len(data):
            raise MalformedPickle("its last tensors are missing")
        places[key] = (stream.position, size)
        stream.position += size
    if set(sizes) - set(places):
        raise MalformedPickle("it lacks some of its storages")
    return content


def _nested_storage(content: Any, *_: Any) -> Any:
    """The storage that a plain pickle embeds as bytes of ``torch.save``; it nests no deeper."""
    if not isinstance(content, bytes | bytearray):
        raise Rejected
    data = memoryview(content)
    stream = _Reader(data)
    if unpickle(stream, BUILDERS) != _LEGACY_MAGIC:
        raise Rejected
    return _read_legacy(stream, data)


def _storage_identifier(identifier: Any) -> tuple[torch.dtype | None, str]:
    """Type and key of the storage that a pickle refers to; None for an unknown type."""
    match identifier:
        case ("storage", GlobalName() as kind, str() as key, *_):
            return STORAGE_TYPES.get(kind.name), key
    raise MalformedPickle("it refers to something that is not a storage of tensors")


class _Reader:
    """A binary file over bytes in memory, which are not copied as a whole."""

    def __init__(self, data: "mmap.mmap | memoryview") -> None:
        self._data = memoryview(data)
        self.position = 0

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._data) if size < 0 else min(self.position + size, len(self._data))
        piece = bytes(self._data[self.position : end])
        self.position = max(self.position, end)
        return piece

    def readline(self) -> bytes:
        # Lines of a pickle are short names and numbers, so the search begins with a small piece.
        size = 256
        while True:
            piece = bytes(self._data[self.position : self.position + size])
            end = piece.find(b"\n")
            if end >= 0 or len(piece) < size:
                piece = piece[: end + 1] if end >= 0 else piece
                self.position += len(piece)
                return piece
            size *= 2

    def seek(self, offset: int, whence: int = 0) -> int:
        start = {0: 0, 1: self.position, 2: len(self._data)}[whence]
        if start + offset < 0:
            raise ValueError("before the beginning")
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def seekable(self) -> bool:
        return True
