"""Where the weights of a program lie in its bytecode, without Apple's parser.

MLIR's bytecode is a magic number, a version, the name of its writer, and sections::

    section   one byte (its kind, and 128 if it is aligned), its length, [alignment, padding], data
    blob      its alignment, its length, padding, data
    number    the zeros at the low end of the first byte say how many bytes follow it

Three sections are read: the strings, the offsets of the resources, and the resources, each of which
is a blob of bytes with a name. Programs name their larger constants so. Everything else is left to
Apple's parser (``program.py``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.saved.aimodel.folder import damaged

Place = tuple[int, int]
"""The first byte of a resource in the file, and the one behind its last."""

_MAGIC = b"ML\xefR"
_ALIGNED = 0x80
_STRINGS, _RESOURCES, _OFFSETS = 0, 5, 6
_BLOB = 0
# The published models have 200 resources.
_MAX_RESOURCES = 100_000
_MAX_ALIGNMENT = 1 << 20


class _Unreadable(Exception):
    """The bytes contradict each other; the text is a clause."""


@dataclass
class _Bytes:
    """Bytes of a file from ``at`` to ``end``, read from the front."""

    content: NDArray[np.uint8]
    at: int
    end: int

    def take(self, size: int) -> int:
        """Go over some bytes; where they begin."""
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
        """Go to a multiple of a number of bytes."""
        if not 1 <= alignment <= _MAX_ALIGNMENT:
            raise _Unreadable(f"a part of its program is aligned to {alignment} bytes")
        self.take(-self.at % alignment)


def resources(asset: Path, content: NDArray[np.uint8]) -> dict[str, Place]:
    """Every blob of a program by its name.

    Args:
        asset: for messages.
        content: the bytecode, which begins at the start of a page.

    Raises:
        InputError: it is no bytecode of MLIR, or its parts do not fit together.
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
    offsets.number()  # how many groups are none of the program
    while offsets.at < offsets.end:
        offsets.number()  # whose resources they are
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
