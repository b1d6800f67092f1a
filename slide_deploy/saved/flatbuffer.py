"""Read untrusted FlatBuffers: every offset is checked against the bytes before it is followed.

    root ─► table ─► vtable: u16 its size, u16 size of the table, u16 for each field: its distance
              │              from the table, or 0 if the field is left out
              └────► fields: numbers inline; strings, vectors and tables by an offset
    vector   u32 count, then the items; a string is a vector of bytes

The FlatBuffers libraries trust their input. Many offsets may point to one table, so that a small
file could expand to a large tree. So everything that is read is counted, and a file that needs more
than any network does is refused.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Slide-Swin-B has 40,000.
MAX_TABLES = 300_000
# Numbers in vectors and bytes of strings. Weights are not counted, because they are never copied.
MAX_ITEMS = 16_000_000

Place = tuple[int, int]
"""The first byte, and the one after the last."""

_OFFSET = 4
_NUMBERS = {
    "int8": struct.Struct("<b"),
    "uint8": struct.Struct("<B"),
    "int16": struct.Struct("<h"),
    "uint16": struct.Struct("<H"),
    "int32": struct.Struct("<i"),
    "uint32": struct.Struct("<I"),
    "int64": struct.Struct("<q"),
    "uint64": struct.Struct("<Q"),
    "float32": struct.Struct("<f"),
    "float64": struct.Struct("<d"),
}


class Flatbuffer:
    """The bytes of one flatbuffer.

    Every method raises the error of ``damaged`` if the bytes contradict each other.

    Args:
        content: shape (bytes,).
        damaged: returns that error for a clause that describes the contradiction.

    Attributes:
        end: the byte after the last one that was read or returned.
    """

    def __init__(
        self, content: NDArray[np.uint8], damaged: Callable[[str], Exception] = ValueError
    ) -> None:
        self.content = content
        self.damaged = damaged
        self.end = 0
        self._bytes = content.data
        self._tables = 0
        self._items = 0

    @property
    def identifier(self) -> bytes:
        """The four bytes that identify the file format."""
        return bytes(self._bytes[4:8])

    def root(self) -> "FlatTable":
        """Return the outermost table."""
        return self.table(self.target(0))

    def number(self, kind: str, at: int) -> Any:
        """Return the number at a byte; ``kind`` is its dtype in numpy's spelling."""
        form = _NUMBERS[kind]
        self.check(at, form.size)
        return form.unpack_from(self._bytes, at)[0]

    def target(self, at: int) -> int:
        """Return the byte to which the offset at a byte points."""
        return at + int(self.number("uint32", at))

    def table(self, at: int) -> "FlatTable":
        """Return the table at a byte."""
        self._tables += 1
        if self._tables > MAX_TABLES:
            raise self.damaged("it has more tables than any network needs")
        vtable = at - self.number("int32", at)
        size = self.number("uint16", vtable)
        if size < 4 or size % 2:
            raise self.damaged(f"the table at byte {at} has a damaged vtable")
        self.check(vtable, size)
        return FlatTable(self, at, vtable, size)

    def vector(self, at: int, size: int) -> Place:
        """Return where the items of the vector at a byte are; ``size`` is the bytes of an item."""
        length = self.number("uint32", at) * size
        self.check(at + _OFFSET, length)
        return at + _OFFSET, at + _OFFSET + length

    def check(self, start: int, size: int) -> None:
        """Refuse a range of bytes that is not inside the buffer."""
        if start < 0 or size < 0 or start + size > self.content.size:
            raise self.damaged(f"it points to byte {start + size}, which is outside of it")
        self.end = max(self.end, start + size)

    def spend(self, items: int) -> None:
        """Count numbers and characters that are about to be copied, and refuse too many."""
        self._items += items
        if self._items > MAX_ITEMS:
            raise self.damaged("it has longer lists than any network needs")


@dataclass(frozen=True, slots=True)
class FlatTable:
    """One table. Fields are identified by their number in the schema, from 0."""

    buffer: Flatbuffer
    at: int
    vtable: int
    size: int

    def number(self, field: int, kind: str = "uint32", default: Any = 0) -> Any:
        """Return an inline number; ``kind`` is its dtype in numpy's spelling."""
        at = self._place(field)
        return default if at is None else self.buffer.number(kind, at)

    def numbers(self, field: int, kind: str) -> tuple[Any, ...]:
        """Return a vector of numbers; empty if it is left out."""
        start, end = self.bytes(field, _NUMBERS[kind].size)
        held = self.buffer.content[start:end].view(np.dtype(kind).newbyteorder("<"))
        self.buffer.spend(held.size)
        return tuple(held.tolist())

    def bytes(self, field: int, size: int = 1) -> Place:
        """Return where the items of a vector are, ``size`` bytes each; (0, 0) if it is left out."""
        at = self._target(field)
        return (0, 0) if at is None else self.buffer.vector(at, size)

    def text(self, field: int) -> str:
        """Return a string; empty if it is left out."""
        start, end = self.bytes(field)
        self.buffer.spend(end - start)
        try:
            return self.buffer.content[start:end].tobytes().decode()
        except UnicodeDecodeError as error:
            raise self.buffer.damaged("a name in it is not text") from error

    def table(self, field: int) -> "FlatTable | None":
        """Return an inner table; None if it is left out."""
        at = self._target(field)
        return None if at is None else self.buffer.table(at)

    def tables(self, field: int) -> Iterator["FlatTable"]:
        """Yield the tables of a vector; none if it is left out."""
        for place in range(*self.bytes(field, _OFFSET), _OFFSET):
            yield self.buffer.table(self.buffer.target(place))

    def union(self, field: int) -> tuple[int, "FlatTable | None"]:
        """Return the number of a union's type and its table; (0, None) if it is empty."""
        return self.number(field, "uint8"), self.table(field + 1)

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        distance = self.buffer.number("uint16", self.vtable + slot) if slot < self.size else 0
        return self.at + int(distance) if distance else None

    def _target(self, field: int) -> int | None:
        at = self._place(field)
        return None if at is None else self.buffer.target(at)
