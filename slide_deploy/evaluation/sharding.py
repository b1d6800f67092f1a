"""Parts of a data set for several machines, and which of them hold which pictures.

Pictures are taken in batches of neighbours, and the batches go round the shards in turn: batch 0 to
shard 1, batch 1 to shard 2. So every picture is computed in the same company, whether the set is
evaluated as a whole or in parts, and outputs that depend on the whole batch, as with int8 scales
that a file measures while it runs, are the same too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slide_deploy.errors import InputError

MOST_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """One part of so many.

    Attributes:
        index: from 1.
        count: of all parts.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if self.count > MOST_SHARDS:
            raise InputError(f"--shard {self} divides too finely: {MOST_SHARDS:,} parts at most.")
        if not 1 <= self.index <= self.count:
            raise InputError(
                f"--shard {self} is no part: give 1/{self.count} to {self.count}/{self.count}."
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``3/16``.

        Raises:
            InputError: if it is none.
        """
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
        if match is None or not int(match[2]):
            raise InputError(f"--shard {text} is no part: give 3/16 for the third of sixteen.")
        return cls(int(match[1]), int(match[2]))

    def batches(self, pictures: int, batch: int) -> Iterator[range]:
        """Places of the pictures of each of its batches.

        Args:
            pictures: of the whole set.
            batch: pictures of one batch; the last of the set may have fewer.
        """
        for start in range((self.index - 1) * batch, pictures, batch * self.count):
            yield range(start, min(start + batch, pictures))

    def size(self, pictures: int, batch: int) -> int:
        """How many pictures all of its batches have."""
        rounds, rest = divmod(pictures, batch * self.count)
        return rounds * batch + min(max(rest - (self.index - 1) * batch, 0), batch)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


# All pictures.
WHOLE = Shard()
