"""Strips of rows: computing them one after the other bounds memory at high resolution.

A strip of output rows also reads r rows on either side, its halo. At the edges of the feature map
these rows are zeros. For other padding modes the feature map is padded first (``surroundings``), so
that every strip has its halo.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Strip:
    """A strip of rows of a feature map. Ranges exclude their end.

    Attributes:
        top, bottom: range of the output rows.
        first, last: range of the rows that are read.
        above, below: number of zero rows to add above and below the rows that are read.
        beside: number of padding columns on either side of the input; 0 if the padding is zeros.
    """

    top: int
    bottom: int
    first: int
    last: int
    above: int
    below: int
    beside: int = 0

    def surrounded(self, radius: int) -> "Strip":
        """Return the same strip for a feature map that is padded by ``radius`` on every side."""
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
        """The output rows, counted from the first row that is read."""
        return slice(self.top - self.first, self.bottom - self.first)

    @property
    def rows(self) -> int:
        """The number of output rows."""
        return self.bottom - self.top

    @property
    def is_whole(self) -> bool:
        """Whether the strip is the whole feature map, padded with zeros."""
        radius = self.above + self.top - self.first
        return self.above == self.below == radius


def strips(height: int, count: int, radius: int) -> tuple[Strip, ...]:
    """Cut a feature map into strips of nearly equal height.

    Args:
        height: number of rows of the feature map.
        count: number of strips.
        radius: rows of halo on either side, r.

    Raises:
        InputError: a strip would be empty.
    """
    if not 1 <= count <= height:
        raise InputError(
            f"A feature map of {height} rows cannot be cut into {count} strips: give {height} or "
            f"fewer."
        )
    edges = [height * index // count for index in range(count + 1)]
    return tuple(_strip(top, bottom, height, radius) for top, bottom in pairwise(edges))


def _strip(top: int, bottom: int, height: int, radius: int) -> Strip:
    first, last = max(top - radius, 0), min(bottom + radius, height)
    return Strip(top, bottom, first, last, radius - (top - first), radius - (last - bottom))
