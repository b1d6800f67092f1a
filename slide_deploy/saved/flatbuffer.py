"""FlatBuffers from strangers: every offset is held against the bytes before it is followed.

    root ─► table ─► vtable: u16 its bytes, u16 bytes of the table, u16 for each field: the distance
              │              from the table, or 0 where the field is left out
              └────► fields: numbers in place; texts, vectors and tables by an offset
    vector   u32 count, then the items; a text is a vector of bytes

The libraries for FlatBuffers trust what they read. Offsets may lead to one place from many, so that
a small file could unfold to a large tree: what is read is counted, and a file that asks for more
than any network needs is refused.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Slide-Swin-B takes 40,000.
MAX_TABLES = 300_000
# Numbers in lists and bytes of texts; weights are neither, since they are never copied.
MAX_ITEMS = 16_000_000

Place = tuple[int, int]
"""The first byte, and the one behind the last."""

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

    Every method raises the error of ``damaged`` where the bytes contradict each other.

    Args:
        content: shape (bytes,).
        damaged: makes that error, from a clause that says how they do.

    Attributes:
        end: the byte behind the last one that was read or handed out.
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
        """The four bytes that tell what it holds."""
        return bytes(self._bytes[4:8])

    def root(self) -> "FlatTable":
        """The outermost table."""
        return self.table(self.target(0))

    def number(self, kind: str, at: int) -> Any:
        """A number at a place; ``kind`` as numpy spells it."""
        form = _NUMBERS[kind]
        self.check(at, form.size)
        return form.unpack_from(self._bytes, at)[0]

    def target(self, at: int) -> int:
        """Where the offset leads that stands at a place."""
        return at + int(self.number("uint32", at))

    def table(self, at: int) -> "FlatTable":
        """The table at a place."""
        self._tables += 1
        if self._tables > MAX_TABLES:
            raise self.damaged("it has more tables than any network needs")
        vtable = at - self.number("int32", at)
        size = self.number("uint16", vtable)
        if size < 4 or size % 2:
            raise self.damaged(f"the table at byte {at} describes itself wrongly")
        self.check(vtable, size)
        return FlatTable(self, at, vtable, size)

    def vector(self, at: int, size: int) -> Place:
        """Where the items of the vector at a place are, each so many bytes."""
        length = self.number("uint32", at) * size
        self.check(at + _OFFSET, length)
        return at + _OFFSET, at + _OFFSET + length

    def check(self, start: int, size: int) -> None:
        """Hold a stretch of bytes against all there are."""
        if start < 0 or size < 0 or start + size > self.content.size:
            raise self.damaged(f"it points to byte {start + size}, which is outside of it")
        self.end = max(self.end, start + size)

    def spend(self, items: int) -> None:
        """Count numbers and letters that are about to be copied."""
        self._items += items
        if self._items > MAX_ITEMS:
            raise self.damaged("it has longer lists than any network needs")


@dataclass(frozen=True, slots=True)
class FlatTable:
    """One table. Fields are named by their number in the schema, from 0."""

    buffer: Flatbuffer
    at: int
    vtable: int
    size: int

    def number(self, field: int, kind: str = "uint32", default: Any = 0) -> Any:
        """A number that stands in the table; ``kind`` as numpy spells it."""
        at = self._place(field)
        return default if at is None else self.buffer.number(kind, at)

    def numbers(self, field: int, kind: str) -> tuple[Any, ...]:
        """A vector of numbers; empty if it is left out."""
        start, end = self.bytes(field, _NUMBERS[kind].size)
        held = self.buffer.content[start:end].view(np.dtype(kind).newbyteorder("<"))
        self.buffer.spend(held.size)
        return tuple(held.tolist())

    def bytes(self, field: int, size: int = 1) -> Place:
        """Where the items of a vector are, each so many bytes; nowhere if it is left out."""
        at = self._target(field)
        return (0, 0) if at is None else self.buffer.vector(at, size)

    def text(self, field: int) -> str:
        """A text; empty if it is left out."""
        start, end = self.bytes(field)
        self.buffer.spend(end - start)
        try:
            return self.buffer.content[start:end].tobytes().decode()
        except UnicodeDecodeError as error:
            raise self.buffer.damaged("a name in it is not text") from error

    def table(self, field: int) -> "FlatTable | None":
        """A table inside; None if it is left out."""
        at = self._target(field)
        return None if at is None else self.buffer.table(at)

    def tables(self, field: int) -> Iterator["FlatTable"]:
        """A vector of tables; none if it is left out."""
        for place in range(*self.bytes(field, _OFFSET), _OFFSET):
            yield self.buffer.table(self.buffer.target(place))

    def union(self, field: int) -> tuple[int, "FlatTable | None"]:
        """What a union holds: the number of its kind, and the table; (0, None) if nothing."""
        return self.number(field, "uint8"), self.table(field + 1)

    def _place(self, field: int) -> int | None:
        slot = 4 + 2 * field
        distance = self.buffer.number("uint16", self.vtable + slot) if slot < self.size else 0
        return self.at + int(distance) if distance else None

    def _target(self, field: int) -> int | None:
        at = self._place(field)
        return None if at is None else self.buffer.target(at)
