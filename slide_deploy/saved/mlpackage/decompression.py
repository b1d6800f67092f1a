"""Decompress weights: the ``constexpr_`` operators as arithmetic on numpy arrays.

Old packages (iOS 16 and 17) pack indices into bytes and store a shape with them; new ones (iOS 18)
use sub-byte types, blocks and vectors. Results are computed in float32 and rounded once, to the
type of the scale.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from slide_deploy.saved.mlpackage.dtypes import unpack

Array = NDArray[np.generic]

# 2**28 elements are 1 GiB of float32, far above any value of a vision model on a device. A file of
# a few bytes can require more. The interpreter has the same limit.
MAX_DENSE_ELEMENTS = 1 << 28


def affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """``scale * (quantized_data - zero_point)``, per tensor or per slice along ``axis``.

    Args:
        quantized_data: int8 or uint8, any shape.
        zero_point: scalar, or shape (size of ``axis``,).
        scale: scalar, or shape (size of ``axis``,).
        axis: scalar.

    Raises:
        ValueError: if a vector does not fit the axis.
    """
    along = [1] * quantized_data.ndim
    along[int(axis)] = -1

    def spread(values: Array) -> NDArray[np.float32]:
        """Reshape to the rank of the data; a scalar stays one element."""
        return values.astype(np.float32).reshape(along)

    values = (quantized_data.astype(np.float32) - spread(zero_point)) * spread(scale)
    if values.shape != quantized_data.shape:
        raise ValueError(f"scale and zero point widen {quantized_data.shape} to {values.shape}")
    return values.astype(scale.dtype)


def blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """``scale * (data - offset)``, with one scale per block of ``data``.

    Args:
        data: any shape.
        scale: same rank; each size divides that of ``data``.
        offset: shape of ``scale``; None means zeros.

    Raises:
        ValueError: if the blocks do not fit the data.
    """
    shifted = data.astype(np.float32)
    if offset is not None:
        shifted = shifted - _repeated(offset.astype(np.float32), data.shape)
    return (shifted * _repeated(scale.astype(np.float32), data.shape)).astype(scale.dtype)


def packed_lut_to_dense(indices: Array, lut: Array, shape: Array) -> Array:
    """Look up values in one palette per tensor, with indices packed into bytes.

    Args:
        indices: uint8, shape (ceil(bits * elements / 8),).
        lut: shape (2**bits,).
        shape: of the result.

    Raises:
        ValueError: if the size of the palette is not a power of 2, or there are too few indices.
    """
    bits, sizes = _index_bits(lut.size), _sizes(shape)
    count = math.prod(sizes)
    if indices.size * 8 < count * bits:
        raise ValueError(f"{indices.size} bytes of indices are too few for shape {sizes}")
    return lut.reshape(-1)[unpack(indices.reshape(-1).astype(np.uint8), bits, count)].reshape(sizes)


def lut_to_dense(indices: Array, lut: Array, vector_axis: Array | None = None) -> Array:
    """Look up values in one palette per block; an entry may be a vector along ``vector_axis``.

    Args:
        indices: one index per entry, any shape.
        lut: shape (blocks of each dimension..., entries, vector size).
        vector_axis: scalar; optional if the vector size is 1.

    Returns:
        Shape of ``indices``, times the vector size along ``vector_axis``.

    Raises:
        ValueError: if the blocks do not fit the indices, or the axis is missing.
        IndexError: if an index is beyond the palette.
    """
    rank = indices.ndim
    if lut.ndim != rank + 2:
        raise ValueError(f"a palette of rank {lut.ndim} does not fit indices of rank {rank}")
    vector_size = lut.shape[-1]
    _check_size(indices.size * vector_size)
    # For each dimension, the block index of each element.
    blocks = np.ix_(
        *(
            np.arange(size) // _block_size(size, count)
            for size, count in zip(indices.shape, lut.shape, strict=False)
        )
    )
    vectors: Array = lut[(*blocks, indices.astype(np.intp))]  # (...indices, vector)
    if vector_axis is None:
        if vector_size != 1:
            raise ValueError("a palette of vectors needs an axis for them")
        return vectors[..., 0]
    axis = range(rank)[int(vector_axis)]
    sizes = list(indices.shape)
    sizes[axis] *= vector_size
    return np.moveaxis(vectors, -1, axis + 1).reshape(sizes)


# The form of an operation is the first function with its parameters.
DECOMPRESSORS: Mapping[str, tuple[Callable[..., Array], ...]] = {
    "constexpr_affine_dequantize": (affine_dequantize,),
    "constexpr_blockwise_shift_scale": (blockwise_shift_scale,),
    "constexpr_lut_to_dense": (packed_lut_to_dense, lut_to_dense),
}


def _sizes(shape: Array) -> tuple[int, ...]:
    sizes = tuple(int(size) for size in shape.reshape(-1).astype(np.int64))
    if min(sizes, default=0) < 0:
        raise ValueError(f"shape {sizes} has a negative size")
    _check_size(math.prod(sizes))
    return sizes


def _check_size(count: int) -> None:
    if count > MAX_DENSE_ELEMENTS:
        raise ValueError(f"{count} elements are too many for one weight")


def _index_bits(entries: int) -> int:
    bits = entries.bit_length() - 1
    if entries != 1 << bits or not 1 <= bits <= 8:
        raise ValueError(f"a palette has {entries} entries, which is not a power of 2 up to 256")
    return bits


def _block_size(size: int, count: int) -> int:
    if count == 0 or size % count:
        raise ValueError(f"{count} blocks do not divide {size}")
    return size // count


def _repeated(values: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Repeat one value per block to one value per element."""
    if values.ndim != len(shape):
        raise ValueError(f"blocks of rank {values.ndim} do not fit data of rank {len(shape)}")
    for axis, size in enumerate(shape):
        values = np.repeat(values, _block_size(size, values.shape[axis]), axis)
    return values
