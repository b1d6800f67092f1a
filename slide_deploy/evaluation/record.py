"""What an evaluation records: the outcome of every picture, from which all figures follow.

Results of several shards are joined by putting their outcomes together, so that the figures of the
whole are those of a single run: counts, intervals and paired tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from slide_deploy.evaluation.classifier import TOP
from slide_deploy.evaluation.sharding import MOST_SHARDS, Shard

# 1: the first form.
RECORD_VERSION = 1


@dataclass(frozen=True)
class Data:
    """The pictures that were asked for, all shards together.

    Attributes:
        source: the folder or table, as it was given.
        layout: "folders", "table" or "flat".
        sha256: of names, labels and classes in their order.
        pictures: how many.
        others: files that were left out since they are no pictures.
        classes: how many the files tell apart.
        numbering: how labels became classes; empty where nobody knows the classes.
        sample: how many were drawn from a larger set; 0 for all.
        seed: of the draw.
    """

    source: str
    layout: str
    sha256: str
    pictures: int
    others: int
    classes: int
    numbering: str
    sample: int
    seed: int


@dataclass(frozen=True)
class Damaged:
    """A picture that could not be read.

    Attributes:
        place: in the order of the data.
        name: of the picture.
        reason: a sentence.
    """

    place: int
    name: str
    reason: str


@dataclass(frozen=True)
class Outcomes:
    """What one file said of every picture.

    Attributes:
        name: of the file.
        sha256: of the file and what belongs to it.
        runtime: what ran it.
        version: of the runtime's library.
        prepared: how pictures were prepared.
        normalisation: with which mean and deviation, by the file itself or before; empty where
            nobody says.
        predicted: the most probable class; -1 where a number was not finite.
        ranks: how many classes were more probable than the right one, 5 for five and more; empty
            where nobody knows the right one.
    """

    name: str
    sha256: str
    runtime: str
    version: str
    prepared: str
    normalisation: str
    predicted: tuple[int, ...]
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """One evaluation, whole or in part.

    Attributes:
        tool: version of slide-deploy.
        data: what was to be evaluated.
        batch: neighbours that are computed together.
        shards: into how many parts the data is divided.
        parts: which of them are in here, in order.
        trained: whether the first outcomes are those of the trained network.
        places: of the pictures that were read, in the order of the data.
        damaged: pictures that could not be read.
        files: in the order in which they were given; others are held against the first.
    """

    tool: str
    data: Data
    batch: int
    shards: int
    parts: tuple[int, ...]
    trained: bool
    places: tuple[int, ...]
    damaged: tuple[Damaged, ...]
    files: tuple[Outcomes, ...]

    def __post_init__(self) -> None:
        """Refuse what no evaluation gives.

        Raises:
            ValueError: with what is wrong, a clause.
        """
        for fault in _faults(self):
            raise ValueError(fault)

    @property
    def is_whole(self) -> bool:
        """Whether every shard is in here."""
        return len(self.parts) == self.shards

    @property
    def has_classes(self) -> bool:
        """Whether the right class of every picture is known."""
        return bool(self.data.numbering)


def _faults(record: Record) -> Iterator[str]:
    """What no evaluation gives, one after the other: each takes for granted what stands before."""
    data, files = record.data, record.files
    count = len(record.places)
    if record.batch < 1 or not 1 <= record.shards <= MOST_SHARDS or data.pictures < 0:
        yield "a count is absurd"
    if list(record.parts) != sorted(set(record.parts)) or not record.parts:
        yield "its shards are not in order"
    if not 1 <= record.parts[0] <= record.parts[-1] <= record.shards:
        yield f"it holds a shard beyond {record.shards}"
    shards = {part - 1: Shard(part, record.shards) for part in record.parts}
    expected = sum(each.size(data.pictures, record.batch) for each in shards.values())
    seen = [*record.places, *(each.place for each in record.damaged)]
    if len(seen) != expected or len(set(seen)) != expected:
        yield "its pictures are not those of its shards"
    if not all(
        0 <= place < data.pictures and place // record.batch % record.shards in shards
        for place in seen
    ):
        yield "its pictures are not those of its shards"
    if list(record.places) != sorted(record.places):
        yield "its pictures are not in order"
    if not files:
        yield "it holds no file"
    known = count if record.has_classes else 0
    if any(len(each.predicted) != count or len(each.ranks) != known for each in files):
        yield "a file has not one outcome for each picture"
    if any(not -1 <= each < data.classes for file in files for each in file.predicted):
        yield "a class is none of the file"
    if any(not 0 <= each <= TOP for file in files for each in file.ranks):
        yield "a rank is none"
    if any(
        rank < TOP and predicted < 0
        for file in files
        for predicted, rank in zip(file.predicted, file.ranks, strict=bool(file.ranks))
    ):
        yield "an output that is not finite counts as right"
