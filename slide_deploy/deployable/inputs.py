"""The inputs of a network: a name, example values, and which of their sizes are open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

BATCH_NAME = "batch"


@dataclass(frozen=True)
class Input:
    """One tensor that a network takes.

    Attributes:
        name: as callers of a written file ask for it.
        example: values that the network takes, of the type and rank that it takes.
        open: names of the sizes that a written file leaves open, by their axis.
        values: what other inputs are drawn from; None for normal numbers, or the values of the
            example where these are whole numbers.
        pixels: whether its numbers are those of pixels: whole ones from 0 to 255, or what the
            format makes of them.
        layout: of an image: "nchw" or "nhwc".
    """

    name: str
    example: np.ndarray
    open: Mapping[int, str] = field(default_factory=dict)
    values: np.ndarray | None = None
    pixels: bool = False
    layout: str = "nchw"

    @property
    def shape(self) -> tuple[int | str, ...]:
        """The sizes, with the name of each that is open."""
        return tuple(self.open.get(axis, size) for axis, size in enumerate(self.example.shape))

    def resized(self, sizes: Mapping[str, int]) -> "Input":
        """The same input at other sizes; its example is repeated or cut.

        Args:
            sizes: of open dimensions, by their name; others stay.
        """
        example = self.example
        for axis, name in self.open.items():
            if name in sizes:
                places = np.arange(sizes[name]) % max(1, example.shape[axis])
                example = example.take(places, axis=axis)
        return replace(self, example=example)


def open_names(inputs: Sequence[Input]) -> tuple[str, ...]:
    """Names of the open sizes of all inputs, each once, in their order."""
    return tuple(dict.fromkeys(name for each in inputs for _, name in sorted(each.open.items())))
