"""Bound the memory that parsing a protobuf takes, by a walk over its bytes before parsing.

A parsed message can take fifty times its bytes: two bytes in a file can become a message of a
hundred bytes in memory, and a packed integer of one byte takes eight. The walk follows the wire
format field by field, without building anything:

    tag = varint(number << 3 | wire type);  0: varint, 1: 8 bytes, 2: length and bytes, 5: 4 bytes

Fields of type bytes (the weights) are skipped. Every other field costs one unit of the budget, and
packed integers cost one unit a byte.
"""

from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.readers.limits import MAX_STRUCTURE_BYTES
from slide_deploy.saved.untrusted import damaged

# Slide-Swin-B takes 60,000. A million fields take about 100 MB parsed, and a second to count.
MAX_FIELDS = 1_000_000
# Deeper than any attribute of any operator; protobuf itself stops at 100.
MAX_DEPTH = 40

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Descriptor numbers of the types whose packed form grows: every integer that is a varint.
_VARINT_TYPES = frozenset((3, 4, 5, 8, 13, 14, 17, 18))
_STRING_TYPE = 9
# bytes, and packed double and float: parsed, they take no more memory than in the file.
_WEIGHT_TYPES = frozenset((12, 1, 2))


class Budget:
    """Counts the fields of one file."""

    def __init__(self, path: Path, content: memoryview) -> None:
        self._path = path
        self._content = content
        self._fields = 0
        self._structure = 0

    def check(self, descriptor: Any) -> None:
        """Walk over a whole file, whose outermost message has this protobuf descriptor.

        Raises:
            InputError: the bytes are not such a message, or parsing it would take too much memory.
        """
        self._message(descriptor, 0, len(self._content), 0)

    def _message(self, descriptor: Any, at: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._refused(f"is nested deeper than {MAX_DEPTH} levels")
        fields = descriptor.fields_by_number
        while at < end:
            self._spend(1)
            tag, at = self._varint(at, end)
            wire_type = tag & 7
            if wire_type == _BYTES:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise damaged(self._path, "a field is longer than the file")
                self._delimited(fields.get(tag >> 3), at, at + length, depth)
                at += length
            elif wire_type == _VARINT:
                _, at = self._varint(at, end)
            elif wire_type in (_FIXED64, _FIXED32):
                at += 8 if wire_type == _FIXED64 else 4
            else:
                raise damaged(self._path, "its bytes are not a protobuf")
        if at != end:
            raise damaged(self._path, "it ends inside a field")

    def _delimited(self, field: Any, at: int, end: int, depth: int) -> None:
        if field is not None and field.message_type is not None:
            self._message(field.message_type, at, end, depth + 1)
        elif field is not None and field.type in _VARINT_TYPES:
            self._spend(end - at)
        elif field is None or field.type not in _WEIGHT_TYPES:
            if field is not None and field.type == _STRING_TYPE:
                self._text(at, end)
            self._structure += end - at
            if self._structure > MAX_STRUCTURE_BYTES:
                raise self._refused(f"holds more than {MAX_STRUCTURE_BYTES >> 20} MiB of text")

    def _text(self, at: int, end: int) -> None:
        """Check that a string is UTF-8, because a parser may return other bytes unchanged."""
        try:
            str(self._content[at:end], "utf-8")
        except UnicodeDecodeError as error:
            raise damaged(self._path, "a name in it is not text") from error

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while at < end and shift < 70:
            byte = self._content[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
        raise damaged(self._path, "a number in it has no end")

    def _spend(self, fields: int) -> None:
        self._fields += fields
        if self._fields > MAX_FIELDS:
            raise self._refused(f"has more than {MAX_FIELDS:,} fields")

    def _refused(self, what: str) -> InputError:
        return InputError(
            f"{self._path} {what}, which no vision model needs: do not use it, and get the file "
            f"from a source that you trust."
        )
