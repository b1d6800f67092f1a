"""Inputs that any language makes again from a few numbers, bit for bit.

Words are a hash of their place, after Chris Wellons' "lowbias32" mixing function
(nullprogram.com/blog/2018/07/31), so that each is made by itself, in any order and in parallel.
Only whole numbers of 32 bits, and products of them with powers of two, are computed: no rounding
and no library's logarithm can differ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slide_deploy.errors import InputError

# Four numbers of 16 bits have a sum of this mean, and a standard deviation of 1.15 * 2**15.
_MEAN_OF_FOUR = 131_070
_UNIT = 2.0**-15
_MASK = np.uint32(0xFFFF)
# Numbers that are drawn at a time: words and sums of a whole tensor would take ten times its size.
_BLOCK = 2**18


def mixed(words: np.ndarray) -> np.ndarray:
    """Words of 32 bits, each a hash of the one in its place."""
    words = words.astype(np.uint32)
    words ^= words >> np.uint32(16)
    words *= np.uint32(0x7FEB352D)
    words ^= words >> np.uint32(15)
    words *= np.uint32(0x846CA68B)
    words ^= words >> np.uint32(16)
    return words


def words(seed: int, count: int, first: int = 0) -> np.ndarray:
    """Words of a seed, ``mix(mix(place) + mix(seed))``, as uint32.

    Args:
        seed: of 32 bits.
        count: how many.
        first: the place of the first one.
    """
    start = mixed(np.asarray([seed], np.uint32))
    return mixed(mixed(np.arange(first, first + count, dtype=np.uint32)) + start)


def places(seed: int, count: int, size: int) -> np.ndarray:
    """Places that stand for a tensor of ``size`` numbers, flattened; some may occur twice."""
    return words(seed, count) % np.uint32(size)


@dataclass(frozen=True)
class Frame:
    """Restricts a drawn map to its edges: every position inside gets one value.

    Attributes:
        width: of the edge, in positions of the last two axes.
        inside: the value of every other position.
    """

    width: int
    inside: float


@dataclass(frozen=True)
class Recipe:
    """How a tensor is made.

    Attributes:
        dtype: as numpy spells it.
        shape: of what is drawn.
        draw: its ``kind``: "normal" (seed, factor) for a bell of mean 0 and standard deviation 1.15
            times the factor, "pixels" (seed, lowest, count), "choice" (seed, values), "constant"
            (value), or "stored", whose values nobody can draw.
        frame: of maps whose inside is plain; None for others.
        axes: order in which axes are handed over; None for that of ``shape``.
        reverse: the axis, after that, which is handed over backwards; None for none.
    """

    dtype: str
    shape: tuple[int, ...]
    draw: Mapping[str, Any]
    frame: Frame | None = None
    axes: tuple[int, ...] | None = None
    reverse: int | None = None

    @property
    def handed(self) -> tuple[int, ...]:
        """The shape that is handed over."""
        return self.shape if self.axes is None else tuple(self.shape[axis] for axis in self.axes)

    def tensor(self, stored: np.ndarray | None = None) -> np.ndarray:
        """What the recipe makes.

        Args:
            stored: the values of a draw of the kind "stored", of this shape and type.

        Raises:
            InputError: if the kind of the draw is unknown, or nothing is stored for it.
        """
        values = self._drawn(stored).reshape(self.shape)
        if self.frame is not None:
            edge = slice(self.frame.width, -self.frame.width)
            values[..., edge, edge] = self.frame.inside
        if self.axes is not None:
            values = values.transpose(self.axes)
        if self.reverse is not None:
            values = np.flip(values, self.reverse)
        return np.asarray(values, order="C")

    def _drawn(self, stored: np.ndarray | None) -> np.ndarray:
        """The flat tensor, before frame and order."""
        if self.draw["kind"] == "stored" and stored is not None:
            return stored.astype(self.dtype)
        values = np.empty(math.prod(self.shape), self.dtype)
        for first in range(0, len(values), _BLOCK):
            block = values[first : first + _BLOCK]
            block[...] = self._block(first, len(block))
        return values

    def _block(self, first: int, count: int) -> np.ndarray:
        """Numbers of the flat tensor from one place on, not yet of its type."""
        draw = self.draw
        match draw["kind"]:
            case "normal":
                pairs = words(draw["seed"], 2 * count, 2 * first)
                sums = ((pairs & _MASK) + (pairs >> np.uint32(16))).astype(np.int32)
                return (sums[0::2] + sums[1::2] - _MEAN_OF_FOUR) * (draw["factor"] * _UNIT)
            case "pixels":
                drawn = words(draw["seed"], count, first) % np.uint32(draw["count"])
                return drawn.astype(np.int64) + draw["lowest"]
            case "choice":
                values = np.asarray(draw["values"])
                return values[words(draw["seed"], count, first) % np.uint32(len(values))]
            case "constant":
                return np.full(count, draw["value"])
        raise InputError(f"Reference inputs of the kind {draw['kind']} cannot be made here.")


def normal(seed: int, shape: Sequence[int], dtype: str, factor: float = 1.0) -> Recipe:
    """A bell-shaped tensor. A ``factor`` of few binary digits keeps every number exact."""
    return Recipe(dtype, tuple(shape), {"kind": "normal", "seed": seed, "factor": factor})


def pixels(seed: int, shape: Sequence[int], dtype: str, lowest: int, count: int) -> Recipe:
    """Whole numbers from ``lowest`` on, ``count`` different ones."""
    draw = {"kind": "pixels", "seed": seed, "lowest": lowest, "count": count}
    return Recipe(dtype, tuple(shape), draw)


def choice(seed: int, shape: Sequence[int], values: np.ndarray) -> Recipe:
    """Some of ``values``, which are of the tensor's type."""
    draw = {"kind": "choice", "seed": seed, "values": values.ravel().tolist()}
    return Recipe(str(values.dtype), tuple(shape), draw)


def constant(shape: Sequence[int], dtype: str, value: float) -> Recipe:
    """One number everywhere."""
    return Recipe(dtype, tuple(shape), {"kind": "constant", "value": value})


def stored(values: np.ndarray) -> Recipe:
    """A tensor that only its values tell."""
    return Recipe(str(values.dtype), values.shape, {"kind": "stored"})
