"""The element types of MIL: their codes in the two file formats, and how elements are packed.

A type has one code in the protobuf (``DataType`` in MIL.proto) and another in the weight file.
Types narrower than a byte are packed without gaps, least significant bits first, across bytes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    Attributes:
        name: in numpy's spelling, ``float16`` or ``uint4`` for example.
        proto: its code in the protobuf.
        bits: width of a stored element; 0 for strings, which have no fixed width.
        storage: numpy dtype of a decoded element; empty if slide-deploy cannot decode it.
        blob: its code in the weight file; None if a weight file cannot hold it.
    """

    name: str
    proto: int
    bits: int
    storage: str
    blob: int | None


_TABLE = (
    DType("bool", 1, 8, "bool", None),
    DType("string", 2, 0, "object", None),
    DType("float16", 10, 16, "float16", 1),
    DType("float32", 11, 32, "float32", 2),
    DType("float64", 12, 64, "float64", None),
    DType("bfloat16", 13, 16, "", 5),
    DType("int8", 21, 8, "int8", 4),
    DType("int16", 22, 16, "int16", 6),
    DType("int32", 23, 32, "int32", 14),
    DType("int64", 24, 64, "int64", None),
    DType("int4", 25, 4, "int8", 8),
    DType("uint8", 31, 8, "uint8", 3),
    DType("uint16", 32, 16, "uint16", 7),
    DType("uint32", 33, 32, "uint32", 15),
    DType("uint64", 34, 64, "uint64", None),
    DType("uint4", 35, 4, "uint8", 11),
    DType("uint2", 36, 2, "uint8", 10),
    DType("uint1", 37, 1, "uint8", 9),
    DType("uint6", 38, 6, "uint8", 13),
    DType("uint3", 39, 3, "uint8", 12),
    DType("float8e4m3fn", 40, 8, "", 16),
    DType("float8e5m2", 41, 8, "", 17),
)

BY_PROTO = {dtype.proto: dtype for dtype in _TABLE}


def packed_bytes(count: int, dtype: DType) -> int:
    """Return how many bytes ``count`` elements take in a file."""
    return (count * dtype.bits + 7) // 8


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Unpack elements of 1 to 8 bits to one byte each, shape (count,).

    ``packed`` has at least ``ceil(count * bits / 8)`` bytes, shape (bytes,).
    """
    single_bits = np.unpackbits(packed, count=count * bits, bitorder="little")
    # (count, bits) -> (count, 1): packbits fills the missing high bits with zeros.
    return np.packbits(single_bits.reshape(count, bits), axis=1, bitorder="little").reshape(count)


def decode(stored: NDArray[np.uint8], dtype: DType, count: int) -> NDArray[np.generic]:
    """Return the elements of a stored array, shape (count,), as a view unless they are packed.

    Args:
        stored: exactly ``packed_bytes(count, dtype)`` bytes, shape (bytes,).
        dtype: a type with ``storage`` that is not a string.
        count: number of elements.
    """
    if dtype.bits >= 8:
        return stored.view(np.dtype(dtype.storage).newbyteorder("<"))
    elements = unpack(stored, dtype.bits, count)
    if dtype.name == "int4":  # two's complement: 8..15 are -8..-1
        return ((elements ^ 8).astype(np.int8) - 8).astype(np.int8)
    return elements
