"""Splits a data set into shards for several machines.

Consecutive images form a batch, and batches are dealt to the shards in turn: batch 0 to shard 1,
batch 1 to shard 2. So every image is in the same batch whether the set is evaluated as a whole or
in shards. That matters for outputs that depend on the whole batch, such as those of int8 files with
dynamic scales.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from slide_deploy.errors import InputError

MOST_SHARDS = 100_000


@dataclass(frozen=True)
class Shard:
    """One shard.

    Attributes:
        index: counted from 1.
        count: number of shards.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if self.count > MOST_SHARDS:
            raise InputError(
                f"--shard {self} asks for too many shards: {MOST_SHARDS:,} is the limit."
            )
        if not 1 <= self.index <= self.count:
            raise InputError(
                f"--shard {self} does not exist: give 1/{self.count} to {self.count}/{self.count}."
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``3/16``.

        Raises:
            InputError: if the text is not of that form.
        """
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
        if match is None or not int(match[2]):
            raise InputError(f"--shard {text} is not a shard: give 3/16 for the third of sixteen.")
        return cls(int(match[1]), int(match[2]))

    def batches(self, pictures: int, batch: int) -> Iterator[range]:
        """Image indices of each batch of this shard.

        Args:
            pictures: number of images in the data set.
            batch: batch size; the last batch of the set may be smaller.
        """
        for start in range((self.index - 1) * batch, pictures, batch * self.count):
            yield range(start, min(start + batch, pictures))

    def size(self, pictures: int, batch: int) -> int:
        """Number of images in this shard."""
        rounds, rest = divmod(pictures, batch * self.count)
        return rounds * batch + min(max(rest - (self.index - 1) * batch, 0), batch)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


# The whole data set.
WHOLE = Shard()
