"""Calibration sets: examples for measuring ranges, and others for verification."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

Feeds = Mapping[str, np.ndarray]


class Examples(Sequence[Feeds]):
    """Examples that are made when they are asked for, since all of them may not fit into memory.

    Args:
        count: how many there are.
        make: gives one by its place.
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
        """The same examples, each changed when it is asked for."""
        return Examples(self._count, lambda place: change(self._make(place)))


@dataclass(frozen=True)
class Calibration:
    """A calibration set.

    Attributes:
        source: as the user named it.
        sha256: of the pictures that are used, or of the archive.
        seed: of the sample.
        measured: on which ranges are measured: a tensor for each input of the network, by name.
        held_back: on which the file is proved.
        pictures: on which ranges are measured; none of an archive.
        skipped: other files in the folder.
        damaged: pictures that cannot be read, a name and the reason each.
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
        """What the manifest says of it."""
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
        """What a user should know of it, sentences without a full stop."""
        if not self.damaged:
            return ()
        count, (name, _) = len(self.damaged), self.damaged[0]
        others = f" and {count - 1} other{'s' if count > 2 else ''}" if count > 1 else ""
        were = "pictures were" if count > 1 else "picture was"
        return (
            f"{count} {were} left out of the calibration set since nobody can read them: "
            f"{name}{others}",
        )
