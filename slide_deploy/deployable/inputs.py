"""The inputs of a network: their names, example values and open sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

BATCH_NAME = "batch"


@dataclass(frozen=True)
class Input:
    """One input tensor of a network.

    Attributes:
        name: name of the input in written files.
        example: values that the network takes, with its type and rank.
        open: names of the sizes that written files leave open, by axis.
        values: values that other examples are drawn from; None for normal numbers, or for the
            values of an integer example.
        pixels: whether the values are pixels: integers from 0 to 255, or as the format scales them.
        layout: layout of an image, "nchw" or "nhwc".
    """

    name: str
    example: np.ndarray
    open: Mapping[int, str] = field(default_factory=dict)
    values: np.ndarray | None = None
    pixels: bool = False
    layout: str = "nchw"

    @property
    def shape(self) -> tuple[int | str, ...]:
        """The sizes, with names for open ones."""
        return tuple(self.open.get(axis, size) for axis, size in enumerate(self.example.shape))

    @property
    def varies(self) -> bool:
        """Whether the example holds different values, also if they are booleans or NaN."""
        return bool(self.example.size and (self.example != self.example.flat[0]).any())

    def resized(self, sizes: Mapping[str, int]) -> "Input":
        """Return the input with other open sizes, by name, and its example repeated or cut."""
        example = self.example
        for axis, name in self.open.items():
            if name in sizes:
                places = np.arange(sizes[name]) % max(1, example.shape[axis])
                example = example.take(places, axis=axis)
        return replace(self, example=example)
