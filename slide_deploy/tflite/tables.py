"""FlatBuffers read with care: every offset is held against the file before it is followed.

    root ─► table ─► vtable: where each field of the table is, by its slot
              └────► fields: numbers in place; texts, vectors and tables by an offset

The libraries for FlatBuffers trust what they read: an offset out of range is a negative index or
an error of another module, and a table that is named a million times is read a million times.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slide_deploy.errors import InputError

# What a file may hold beside its weights: names, shapes, options.
MAX_STRUCTURE_BYTES = 64 << 20

Place = tuple[int, int]
"""The first byte, and the one behind the last."""

_OFFSET = struct.Struct("<I")
_BACKWARDS = struct.Struct("<i")
_SHORT = struct.Struct("<H")
_NUMBERS = {
    "int8": struct.Struct("<b"),
    "uint8": struct.Struct("<B"),
    "int32": struct.Struct("<i"),
    "uint32": struct.Struct("<I"),
    "int64": struct.Struct("<q"),
    "uint64": struct.Struct("<Q"),
    "float32": struct.Struct("<f"),
}


class FlatFile:
    """The bytes of a file, read with bounds.

    Args:
        content: of the file.
        damaged: makes the error for bytes that contradict each other, from a clause that says how.

    Attributes:
        end: the byte behind the last one that was read or handed out.
    """

    def __init__(self, content: NDArray[np.uint8], damaged: Callable[[str], InputError]) -> None:
        self.content = content
        self.damaged = damaged
        self.end = 0
        self._bytes = content.data
        self._spent = 0

    def root(self) -> "Table":
        """The table that the file begins with."""
        return self.table(0)

    def table(self, place: int) -> "Table":
        """The table whose offset stands at a place."""
        position = place + self.number(_OFFSET, place)
        vtable = position - self.number(_BACKWARDS, position)
        size = self.number(_SHORT, vtable)
        if size < 4 or size % 2:
            raise self.damaged(f"the table at byte {position} describes itself wrongly")
        self.check(vtable, size)
        self.spend(size)
        slots = struct.unpack_from(f"<{size // 2 - 2}H", self._bytes, vtable + 4)
        return Table(self, position, slots)

    def number(self, kind: struct.Struct, place: int) -> Any:
        """The number at a place."""
        self.check(place, kind.size)
        return kind.unpack_from(self._bytes, place)[0]

    def vector(self, place: int, width: int) -> Place:
        """Where the items of the vector are whose offset stands at a place, each so many bytes."""
        start = place + self.number(_OFFSET, place)
        size = self.number(_OFFSET, start) * width
        self.check(start + 4, size)
        return start + 4, start + 4 + size

    def check(self, start: int, size: int) -> None:
        """Hold a stretch of bytes against the file."""
        if start < 0 or size < 0 or start + size > self.content.size:
            raise self.damaged(f"it points to byte {start + size}, behind its end")
        self.end = max(self.end, start + size)

    def spend(self, size: int) -> None:
        """Count what was read, as a small file may name one place again and again."""
        self._spent += size
        if self._spent > MAX_STRUCTURE_BYTES:
            raise self.damaged("what describes its network is larger than any network")


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a file; fields are asked for by their slot, and absent ones have a default."""

    file: FlatFile
    position: int
    slots: tuple[int, ...]

    def number(self, slot: int, kind: str, default: Any = 0) -> Any:
        """A number that stands in the table."""
        place = self._place(slot)
        return default if place is None else self.file.number(_NUMBERS[kind], place)

    def numbers(self, slot: int, kind: str) -> tuple[Any, ...]:
        """A vector of numbers; empty where it is absent."""
        start, end = self.bytes(slot, _NUMBERS[kind].size)
        self.file.spend(end - start)
        return tuple(np.frombuffer(self.file.content[start:end], np.dtype(kind)).tolist())

    def text(self, slot: int) -> str:
        """A text; empty where it is absent."""
        start, end = self.bytes(slot, 1)
        self.file.spend(end - start)
        return bytes(self.file.content[start:end]).decode("utf-8", "replace")

    def table(self, slot: int) -> "Table | None":
        """A table; None where it is absent."""
        place = self._place(slot)
        return None if place is None else self.file.table(place)

    def tables(self, slot: int) -> Iterator["Table"]:
        """A vector of tables; none where it is absent."""
        start, end = self.bytes(slot, _OFFSET.size)
        self.file.spend(end - start)
        for place in range(start, end, _OFFSET.size):
            yield self.file.table(place)

    def bytes(self, slot: int, width: int = 1) -> Place:
        """Where the items of a vector are, each so many bytes wide; nowhere where it is absent."""
        place = self._place(slot)
        return (0, 0) if place is None else self.file.vector(place, width)

    def has(self, slot: int) -> bool:
        """Whether a field is there."""
        return self._place(slot) is not None

    def _place(self, slot: int) -> int | None:
        offset = self.slots[slot] if slot < len(self.slots) else 0
        return self.position + offset if offset else None
