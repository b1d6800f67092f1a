"""Calibration sets: examples for measuring ranges, and others for verification."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

Feeds = Mapping[str, np.ndarray]


class Examples(Sequence[Feeds]):
    """Examples that are loaded on access, because all of them may not fit into memory.

    Args:
        count: number of examples.
        make: returns the example of an index.
    """

    def __init__(self, count: int, make: Callable[[int], Feeds]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Feeds: ...
    @overload
    def __getitem__(self, place: slice) -> "Examples": ...
    def __getitem__(self, place: int | slice) -> "Feeds | Examples":
        if isinstance(place, slice):
            chosen = range(self._count)[place]
            return Examples(len(chosen), lambda index: self._make(chosen[index]))
        return self._make(range(self._count)[place])

    def mapped(self, change: Callable[[Feeds], Feeds]) -> "Examples":
        """Return the same examples with a function applied to each on access."""
        return Examples(self._count, lambda place: change(self._make(place)))


@dataclass(frozen=True)
class Calibration:
    """A calibration set.

    Attributes:
        source: the path that the user gave.
        sha256: hash of the images that are used, or of the archive.
        seed: seed of the sample.
        measured: examples for measuring ranges: an array for each input of the network, by name.
        held_back: examples for verification.
        pictures: paths of the images in ``measured``; empty for an archive.
        skipped: number of other files in the folder.
        damaged: name of each image that cannot be read, with the reason.
    """

    source: str
    sha256: str
    seed: int
    measured: Examples
    held_back: Examples
    pictures: tuple[Path, ...] = ()
    skipped: int = 0
    damaged: tuple[tuple[str, str], ...] = ()

    def summary(self) -> dict[str, object]:
        """Return the entry of the manifest."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "seed": self.seed,
            "measured": len(self.measured),
            "held_back": len(self.held_back),
            "skipped": self.skipped,
            "damaged": dict(self.damaged),
        }

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks for the user, sentences without a full stop."""
        if not self.damaged:
            return ()
        count, (name, _) = len(self.damaged), self.damaged[0]
        others = f" and {count - 1} other{'s' if count > 2 else ''}" if count > 1 else ""
        were = "images were" if count > 1 else "image was"
        return (f"{count} {were} left out of the calibration set as unreadable: {name}{others}",)
