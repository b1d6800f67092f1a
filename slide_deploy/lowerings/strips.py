"""Strips of rows: attention on one after the other bounds memory at high resolution.

A strip of output rows reads r more rows on either side, its halo. At the edge of the map zeros
stand in for them, as everywhere outside the map. Where copies of positions inside stand there
instead, the map is surrounded by them first (``surroundings``), and every strip finds its halo.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Strip:
    """Some rows of a map.

    Attributes:
        top, bottom: output rows, the last one excluded.
        first, last: rows that are read, the last one excluded.
        above, below: rows of zeros to add to them.
        beside: columns on either side that are read only; 0 where zeros stand outside the map.
    """

    top: int
    bottom: int
    first: int
    last: int
    above: int
    below: int
    beside: int = 0

    def surrounded(self, radius: int) -> "Strip":
        """The strip on a map that has its surroundings already, ``radius`` on every side."""
        return replace(
            self,
            top=self.top + radius,
            bottom=self.bottom + radius,
            first=self.top,
            last=self.bottom + 2 * radius,
            above=0,
            below=0,
            beside=radius,
        )

    @property
    def inside(self) -> slice:
        """Which of the rows that it reads it computes."""
        return slice(self.top - self.first, self.bottom - self.first)

    @property
    def rows(self) -> int:
        """How many rows it computes."""
        return self.bottom - self.top

    @property
    def is_whole(self) -> bool:
        """Whether nothing but zeros surrounds it."""
        radius = self.above + self.top - self.first
        return self.above == self.below == radius


def strips(height: int, count: int, radius: int) -> tuple[Strip, ...]:
    """Cut a map into strips of nearly one size.

    Args:
        height: rows of the map.
        count: how many strips.
        radius: rows of halo, r.

    Raises:
        InputError: if a strip would be empty.
    """
    if not 1 <= count <= height:
        raise InputError(f"A map of {height} rows cannot be cut into {count} strips.")
    edges = [height * index // count for index in range(count + 1)]
    return tuple(_strip(top, bottom, height, radius) for top, bottom in pairwise(edges))


def _strip(top: int, bottom: int, height: int, radius: int) -> Strip:
    first, last = max(top - radius, 0), min(bottom + radius, height)
    return Strip(top, bottom, first, last, radius - (top - first), radius - (last - bottom))
