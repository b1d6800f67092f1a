"""Reads flatbuffers from strangers: every place is looked at before it is read.

A table stands at a place and names, by a signed offset, its vtable, which has for every field the
distance from the table, or 0 where the field is left out::

    vtable  u16 bytes of the vtable, u16 bytes of the table, u16 for each field
    vector  u32 count, then the elements; a text is a vector of bytes

Offsets may lead to one place from many, so that a small file could unfold to a large tree. What is
read is therefore counted, and a file that asks for more than any network needs is refused.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Slide-Swin-B takes 40,000.
_MOST_TABLES = 300_000
# Numbers in lists and bytes of texts; weights are neither, since they are never copied.
_MOST_NUMBERS = 16_000_000


class Flatbuffer:
    """The bytes of one flatbuffer.

    Args:
        content: shape (bytes,).

    Every method that reads raises ``ValueError`` where the bytes contradict each other; its text is
    a clause.
    """

    def __init__(self, content: NDArray[np.uint8]) -> None:
        self.content = content
        self._bytes = content.data
        self._tables = 0
        self._numbers = 0

    @property
    def identifier(self) -> bytes:
        """The four bytes that tell what it holds."""
        return bytes(self._bytes[4:8])

    def root(self) -> "Table":
        """The outermost table."""
        return self.table_at(self.read("I", 0))

    def read(self, kind: str, at: int) -> Any:
        """A number at a place, little-endian; ``kind`` as ``struct`` spells it."""
        size = struct.calcsize("<" + kind)
        if not 0 <= at <= self.content.size - size:
            raise ValueError("an offset in it leads out of the file")
        return struct.unpack_from("<" + kind, self._bytes, at)[0]

    def table_at(self, at: int) -> "Table":
        """The table at a place."""
        self._tables += 1
        if self._tables > _MOST_TABLES:
            raise ValueError("it has more tables than any network needs")
        return Table(self, at)

    def vector_at(self, at: int, size: int) -> tuple[int, int]:
        """The place of the first element of a vector, and how many there are.

        Args:
            at: where its count stands.
            size: bytes of an element.
        """
        count = self.read("I", at)
        if count * size > self.content.size - at - 4:
            raise ValueError("a list in it is longer than the file")
        return at + 4, count

    def spend(self, numbers: int) -> None:
        """Count numbers and letters that are about to be copied."""
        self._numbers += numbers
        if self._numbers > _MOST_NUMBERS:
            raise ValueError("it has longer lists than any network needs")


class Table:
    """One table. Fields are named by their number in the schema, from 0."""

    def __init__(self, buffer: Flatbuffer, at: int) -> None:
        self._buffer = buffer
        self._at = at
        self._vtable = at - buffer.read("i", at)
        self._size = buffer.read("H", self._vtable)
        if self._size < 4 or self._size % 2:
            raise ValueError("a table in it has no fields")
        buffer.read("B", self._vtable + self._size - 1)

    def place(self, field: int) -> int | None:
        """Where the value of a field stands; None if it is left out."""
        slot = 4 + 2 * field
        distance = self._buffer.read("H", self._vtable + slot) if slot < self._size else 0
        return self._at + distance if distance else None

    def number(self, field: int, kind: str = "I", default: float = 0) -> Any:
        """A number; ``kind`` as ``struct`` spells it."""
        at = self.place(field)
        return default if at is None else self._buffer.read(kind, at)

    def table(self, field: int) -> "Table | None":
        """A table inside; None if it is left out."""
        at = self._target(field)
        return None if at is None else self._buffer.table_at(at)

    def tables(self, field: int) -> list["Table"]:
        """A vector of tables."""
        at = self._target(field)
        if at is None:
            return []
        start, count = self._buffer.vector_at(at, 4)
        places = range(start, start + 4 * count, 4)
        return [self._buffer.table_at(place + self._buffer.read("I", place)) for place in places]

    def numbers(self, field: int, dtype: str) -> tuple[int, ...]:
        """A vector of integers; ``dtype`` as numpy spells it."""
        at = self._target(field)
        if at is None:
            return ()
        size = np.dtype(dtype).itemsize
        start, count = self._buffer.vector_at(at, size)
        self._buffer.spend(count)
        held = self._buffer.content[start : start + count * size].view(dtype)
        return tuple(held.tolist())

    def bytes(self, field: int) -> NDArray[np.uint8]:
        """A vector of bytes, not copied."""
        at = self._target(field)
        if at is None:
            return np.empty(0, np.uint8)
        start, count = self._buffer.vector_at(at, 1)
        return self._buffer.content[start : start + count]

    def text(self, field: int) -> str:
        """A text; empty if it is left out."""
        held = self.bytes(field)
        self._buffer.spend(held.size)
        try:
            return held.tobytes().decode()
        except UnicodeDecodeError as error:
            raise ValueError("a name in it is not text") from error

    def union(self, field: int) -> tuple[int, "Table | None"]:
        """What a union holds: the number of its kind, and the table; (0, None) if nothing."""
        return self.number(field, "B"), self.table(field + 1)

    def _target(self, field: int) -> int | None:
        at = self.place(field)
        return None if at is None else at + self._buffer.read("I", at)
