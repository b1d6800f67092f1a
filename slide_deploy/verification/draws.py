"""Random inputs that any language can reproduce bit for bit from a few numbers.

Each 32-bit word is a hash of its index, by Chris Wellons' "lowbias32" mixing function
(nullprogram.com/blog/2018/07/31). So words can be computed in any order and in parallel. The
arithmetic uses only 32-bit integers and their products with powers of two: there is no rounding and
no library logarithm that could differ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slide_deploy.errors import InputError

# The sum of four 16-bit numbers has this mean and a standard deviation of 1.15 * 2**15.
_MEAN_OF_FOUR = 131_070
_UNIT = 2.0**-15
_MASK = np.uint32(0xFFFF)
# Numbers drawn at a time. The words and sums of a whole array would take ten times its size.
_BLOCK = 2**18


def mixed(words: np.ndarray) -> np.ndarray:
    """Hash 32-bit words element by element."""
    words = words.astype(np.uint32)
    words ^= words >> np.uint32(16)
    words *= np.uint32(0x7FEB352D)
    words ^= words >> np.uint32(15)
    words *= np.uint32(0x846CA68B)
    words ^= words >> np.uint32(16)
    return words


def words(seed: int, count: int, first: int = 0) -> np.ndarray:
    """Compute the random words of a seed, ``mix(mix(index) + mix(seed))``, as uint32.

    Args:
        seed: a number of 32 bits.
        count: number of words.
        first: index of the first word.
    """
    start = mixed(np.asarray([seed], np.uint32))
    return mixed(mixed(np.arange(first, first + count, dtype=np.uint32)) + start)


def places(seed: int, count: int, size: int) -> np.ndarray:
    """Draw ``count`` indices into a flat array of ``size`` numbers; some may occur twice."""
    return words(seed, count) % np.uint32(size)


@dataclass(frozen=True)
class Frame:
    """Restricts a drawn feature map to its border and fills the inside with one value.

    Attributes:
        width: width of the border, in positions of the last two axes.
        inside: value of all other positions.
    """

    width: int
    inside: float


@dataclass(frozen=True)
class Recipe:
    """How to build an input array.

    Attributes:
        dtype: numpy's name of the type.
        shape: shape of the drawn array.
        draw: the ``kind`` and its arguments: "normal" (seed, factor) for a bell curve of mean 0 and
            standard deviation 1.15 times the factor, "pixels" (seed, lowest, count), "choice"
            (seed, values), "constant" (value), or "stored" for values that are kept elsewhere.
        frame: restriction to the border of feature maps; None for no restriction.
        axes: permutation of the axes of ``shape``; None for none.
        reverse: axis to reverse after the permutation; None for none.
    """

    dtype: str
    shape: tuple[int, ...]
    draw: Mapping[str, Any]
    frame: Frame | None = None
    axes: tuple[int, ...] | None = None
    reverse: int | None = None

    @property
    def handed(self) -> tuple[int, ...]:
        """The shape of the built array, after the permutation."""
        return self.shape if self.axes is None else tuple(self.shape[axis] for axis in self.axes)

    def tensor(self, stored: np.ndarray | None = None) -> np.ndarray:
        """Build the array.

        Args:
            stored: the values for the kind "stored", in this shape and type.

        Raises:
            InputError: if the kind is unknown, or if the stored values are missing.
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
        """The flat array, before frame and permutation."""
        if self.draw["kind"] == "stored" and stored is not None:
            return stored.astype(self.dtype)
        values = np.empty(math.prod(self.shape), self.dtype)
        for first in range(0, len(values), _BLOCK):
            block = values[first : first + _BLOCK]
            block[...] = self._block(first, len(block))
        return values

    def _block(self, first: int, count: int) -> np.ndarray:
        """``count`` numbers of the flat array from ``first`` on, not yet converted to its type."""
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
        kind = draw["kind"]
        raise InputError(
            f"Reference inputs of the kind {kind} cannot be drawn: export the file again."
        )


def normal(seed: int, shape: Sequence[int], dtype: str, factor: float = 1.0) -> Recipe:
    """A bell-shaped draw. A ``factor`` of few binary digits keeps every number exact."""
    return Recipe(dtype, tuple(shape), {"kind": "normal", "seed": seed, "factor": factor})


def pixels(seed: int, shape: Sequence[int], dtype: str, lowest: int, count: int) -> Recipe:
    """Random integers from ``lowest`` to ``lowest + count - 1``."""
    draw = {"kind": "pixels", "seed": seed, "lowest": lowest, "count": count}
    return Recipe(dtype, tuple(shape), draw)


def choice(seed: int, shape: Sequence[int], values: np.ndarray) -> Recipe:
    """Random elements of ``values``, which have the array's type."""
    draw = {"kind": "choice", "seed": seed, "values": values.ravel().tolist()}
    return Recipe(str(values.dtype), tuple(shape), draw)


def constant(shape: Sequence[int], dtype: str, value: float) -> Recipe:
    """The same number everywhere."""
    return Recipe(dtype, tuple(shape), {"kind": "constant", "value": value})


def stored(values: np.ndarray) -> Recipe:
    """An array that cannot be drawn: its values have to be stored."""
    return Recipe(str(values.dtype), values.shape, {"kind": "stored"})
