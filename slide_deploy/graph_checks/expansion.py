"""Dequantise stored low-precision numbers, operator by operator.

    ONNX      DequantizeLinear                  scale (data - zero point), by tensor, axis or block
    LiteRT    DEQUANTIZE                        the same, by tensor or axis; float16 as it is
    OpenVINO  FakeQuantize                      rounded to levels between two ends
    Core ML   constexpr_affine_dequantize       scale (data - zero point), by tensor or axis
              constexpr_blockwise_shift_scale   the same by block
              constexpr_lut_to_dense            entries of a palette

Each function is given the operator and its input arrays, None for an omitted input. It raises
``ValueError`` if they do not fit together. Results are float32, whatever type the file states.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import Node, elements_of
from slide_deploy.saved.mlpackage.decompression import (
    MAX_DENSE_ELEMENTS,
    affine_dequantize,
    blockwise_shift_scale,
    lut_to_dense,
    packed_lut_to_dense,
)

Array: TypeAlias = NDArray[np.generic]


def dequantize_linear(node: Node, inputs: Sequence[Array | None]) -> Array:
    """ONNX: data, scale and optional zero point."""
    data, scale, zero = _three(inputs)
    axis = (node.integers("axis") or (1,))[0]
    block = (node.integers("block_size") or (0,))[0]
    numbers = data.astype(np.float32)
    if zero is not None:
        numbers = numbers - _along(zero, data, axis, block)
    with np.errstate(all="ignore"):
        return np.asarray(numbers * _along(scale, data, axis, block), np.float32)


def dequantize(node: Node, inputs: Sequence[Array | None]) -> Array:
    """LiteRT: float16 data alone; for integers also scale and zero point."""
    if len(inputs) == 1 and inputs[0] is not None and inputs[0].dtype.kind == "f":
        return np.asarray(inputs[0], np.float32)
    return dequantize_linear(node, inputs)


def fake_quantize(node: Node, inputs: Sequence[Array | None]) -> Array:
    """OpenVINO: data, lowest and highest input, lowest and highest output."""
    if len(inputs) != 5 or any(each is None for each in inputs):
        raise ValueError("it does not have five constant inputs")
    data, low, high, least, most = (np.asarray(each, np.float32) for each in inputs)
    check_broadcast(data, low, high, least, most)
    steps = (node.integers("levels") or (2,))[0] - 1
    with np.errstate(all="ignore"):
        places = np.round((np.clip(data, low, high) - low) / (high - low) * steps)
        return np.asarray(places / steps * (most - least) + least, np.float32)


def affine(node: Node, inputs: Sequence[Array | None]) -> Array:
    """Core ML: data, scale, zero point; the axis is an attribute."""
    data, scale, zero = _three(inputs)
    zero = np.zeros((), np.float32) if zero is None else zero
    axis = np.asarray((node.integers("axis") or (0,))[0])
    return affine_dequantize(data, zero, scale.astype(np.float32), axis)


def blockwise(node: Node, inputs: Sequence[Array | None]) -> Array:
    """Core ML: data, scale and optional offset."""
    data, scale, offset = _three(inputs)
    return blockwise_shift_scale(data, scale.astype(np.float32), offset)


def palette(node: Node, inputs: Sequence[Array | None]) -> Array:
    """Core ML: indices and palette; old operators pack the indices and have a shape attribute."""
    indices, entries, _ = _three(inputs)
    entries = entries.astype(np.float32)
    shape = node.integers("shape")
    if shape is not None:
        return packed_lut_to_dense(indices, entries, np.asarray(shape))
    axis = node.integers("vector_axis")
    try:
        return lut_to_dense(indices, entries, None if axis is None else np.asarray(axis[0]))
    except IndexError as error:
        raise ValueError("an index is beyond the palette") from error


def check_broadcast(*arrays: Array) -> None:
    """Check that arrays broadcast together, to at most the size of a weight.

    Raises:
        ValueError: they do not broadcast, or the result is too large.
    """
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    if elements_of(shape) > MAX_DENSE_ELEMENTS:
        raise ValueError(f"it has the shape {shape}")


def _three(inputs: Sequence[Array | None]) -> tuple[Array, Array, Array | None]:
    """Data, scale and zero point; None if the zero point is omitted."""
    if len(inputs) < 2 or inputs[0] is None or inputs[1] is None:
        raise ValueError("it has no scale")
    return inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None


def _along(held: Array, data: Array, axis: int, block: int) -> NDArray[np.float32]:
    """Reshape per-tensor, per-axis or per-block numbers so that they broadcast over the data."""
    numbers = held.astype(np.float32)
    if numbers.size == 1 and block <= 0:
        return numbers.reshape(())
    if not -data.ndim <= axis < data.ndim:
        raise ValueError(f"the axis {axis} is none of {data.shape}")
    axis %= data.ndim
    if block > 0:
        blocks = [-(-size // block) if at == axis else size for at, size in enumerate(data.shape)]
        if list(numbers.shape) != blocks:
            raise ValueError(f"{held.shape} does not fit blocks of {block} in {data.shape}")
        wide = np.repeat(numbers, min(block, data.shape[axis]), axis)
        return wide[tuple(slice(size) for size in data.shape)]
    if numbers.shape != (data.shape[axis],):
        raise ValueError(f"{held.shape} does not fit the axis {axis} of {data.shape}")
    return numbers.reshape([-1 if other == axis else 1 for other in range(data.ndim)])
