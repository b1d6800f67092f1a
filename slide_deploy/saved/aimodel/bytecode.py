"""Find the weights of a program in its bytecode, without Apple's parser.

MLIR bytecode is a magic number, a version, the name of the writer, and sections::

    section   one byte (its kind, plus 128 if it is aligned), length, [alignment, padding], data
    blob      alignment, length, padding, data
    number    the trailing zero bits of the first byte are the number of bytes that follow it

Three sections are read: the strings, the offsets of the resources, and the resources, which are
named blobs of bytes. Larger constants of a program are resources. Everything else is left to
Apple's parser (``program.py``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.saved.untrusted import damaged

Place = tuple[int, int]
"""The first byte of a resource in the file, and the one after its last."""

_MAGIC = b"ML\xefR"
_ALIGNED = 0x80
_STRINGS, _RESOURCES, _OFFSETS = 0, 5, 6
_BLOB = 0
# The published models have 200 resources.
_MAX_RESOURCES = 100_000
_MAX_ALIGNMENT = 1 << 20


class _Unreadable(Exception):
    """The bytes contradict each other; the message is a clause."""


@dataclass
class _Bytes:
    """A cursor over the bytes of a file from ``at`` to ``end``."""

    content: NDArray[np.uint8]
    at: int
    end: int

    def take(self, size: int) -> int:
        """Advance by ``size`` bytes, and return where they begin."""
        if size > self.end - self.at:
            raise _Unreadable("a part of its program is longer than the file")
        self.at += size
        return self.at - size

    def byte(self) -> int:
        return int(self.content[self.take(1)])

    def number(self) -> int:
        first = self.byte()
        if first == 0:
            return int.from_bytes(self.content[self.take(8) :][:8].tobytes(), "little")
        more = (first & -first).bit_length() - 1
        rest = self.content[self.take(more) :][:more].tobytes()
        return int.from_bytes(bytes([first]) + rest, "little") >> (more + 1)

    def align(self, alignment: int) -> None:
        """Advance to a multiple of ``alignment`` bytes."""
        if not 1 <= alignment <= _MAX_ALIGNMENT:
            raise _Unreadable(f"a part of its program is aligned to {alignment} bytes")
        self.take(-self.at % alignment)


def resources(asset: Path, content: NDArray[np.uint8]) -> dict[str, Place]:
    """Return where each blob of a program is, by its name.

    Args:
        asset: its folder, for messages.
        content: the bytecode, which begins at the start of a memory page.

    Raises:
        InputError: if it is not MLIR bytecode, or its parts contradict each other.
    """
    try:
        return dict(_blobs(_sections(content)))
    except _Unreadable as error:
        raise damaged(asset, str(error)) from error


def _sections(content: NDArray[np.uint8]) -> dict[int, _Bytes]:
    if content[: len(_MAGIC)].tobytes() != _MAGIC:
        raise _Unreadable("its program is no bytecode of MLIR")
    reader = _Bytes(content, len(_MAGIC), content.size)
    reader.number()  # the version
    while reader.byte():  # the name of the writer
        pass
    found: dict[int, _Bytes] = {}
    while reader.at < reader.end:
        kind, length = reader.byte(), reader.number()
        if kind & _ALIGNED:
            reader.align(reader.number())
        start = reader.take(length)
        if found.setdefault(kind & ~_ALIGNED, _Bytes(content, start, start + length)).at != start:
            raise _Unreadable("a part of its program is there twice")
    return found


def _blobs(sections: dict[int, _Bytes]) -> Iterator[tuple[str, Place]]:
    if _OFFSETS not in sections or _RESOURCES not in sections:
        return
    strings, offsets = _strings(sections), sections[_OFFSETS]
    data = sections[_RESOURCES]
    offsets.number()  # number of resource groups of dialects
    while offsets.at < offsets.end:
        offsets.number()  # owner of the group
        for _ in range(_bounded(offsets.number())):
            name, size, kind = offsets.number(), offsets.number(), offsets.byte()
            start = data.take(size)
            if name >= len(strings):
                raise _Unreadable("a weight of its program has no name")
            if kind == _BLOB:
                blob = _Bytes(data.content, start, start + size)
                alignment, length = blob.number(), blob.number()
                blob.align(alignment)
                first = blob.take(length)
                yield strings[name], (first, first + length)


def _strings(sections: dict[int, _Bytes]) -> list[str]:
    if _STRINGS not in sections:
        raise _Unreadable("its program has no names")
    reader = sections[_STRINGS]
    lengths = [reader.number() for _ in range(_bounded(reader.number()))]
    texts = []
    for length in reversed(lengths):
        start = reader.take(length)
        texts.append(reader.content[start : start + max(length - 1, 0)].tobytes())
    return [text.decode("utf-8", "replace") for text in texts]


def _bounded(count: int) -> int:
    if count > _MAX_RESOURCES:
        raise _Unreadable(f"its program has {count:,} names or weights")
    return count
