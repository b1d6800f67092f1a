"""What an evaluation records: the outcome of every image. All figures are computed from it.

Results of several shards are merged by concatenating their outcomes, so counts, intervals and
paired tests are exactly those of a single run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from slide_deploy.evaluation.classifier import TOP
from slide_deploy.evaluation.sharding import MOST_SHARDS, Shard

# 1: the first form.
RECORD_VERSION = 1


@dataclass(frozen=True)
class Data:
    """The data set, all shards together.

    Attributes:
        source: the folder or table, as the user gave it.
        layout: "folders", "table" or "flat".
        sha256: hash of the image names, labels and classes in their order.
        pictures: number of images.
        others: number of files that were skipped because they are not images.
        classes: number of classes of the evaluated files.
        numbering: how labels were mapped to classes; empty if the classes are unknown.
        sample: number of images drawn from a larger set; 0 for all.
        seed: seed of that draw.
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
    """An image that could not be read.

    Attributes:
        place: its index in the data set.
        name: file name.
        reason: a sentence.
    """

    place: int
    name: str
    reason: str


@dataclass(frozen=True)
class Outcomes:
    """Predictions of one file for every image.

    Attributes:
        name: name of the file.
        sha256: hash of the file and its companions.
        runtime: the runtime that ran it.
        version: version of the runtime's library.
        prepared: how images were prepared.
        normalisation: mean and standard deviation, applied inside the file or before it; empty if
            unknown.
        predicted: the class with the highest score; -1 if a score was not finite.
        ranks: number of classes that scored above the correct one, capped at 5; empty if the
            correct classes are unknown.
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
    """One evaluation, of the whole data set or of some shards.

    Attributes:
        tool: version of slide-deploy.
        data: the data set.
        batch: batch size.
        shards: number of shards that the data set is split into.
        parts: indices of the shards in this record, in order.
        trained: whether the first outcomes are those of the trained network.
        places: indices of the images that were read, in order.
        damaged: images that could not be read.
        files: outcomes in the order of the command line; the first is the baseline.
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
        """Reject a record that no evaluation can produce.

        Raises:
            ValueError: with a clause that says what is wrong.
        """
        for fault in _faults(self):
            raise ValueError(fault)

    @property
    def is_whole(self) -> bool:
        """Whether the record holds every shard."""
        return len(self.parts) == self.shards

    @property
    def has_classes(self) -> bool:
        """Whether the correct class of every image is known."""
        return bool(self.data.numbering)


def _faults(record: Record) -> Iterator[str]:
    """Contradictions in a record. Each check assumes that the earlier ones passed."""
    data, files = record.data, record.files
    count = len(record.places)
    if record.batch < 1 or not 1 <= record.shards <= MOST_SHARDS or data.pictures < 0:
        yield "a count is out of range"
    if list(record.parts) != sorted(set(record.parts)) or not record.parts:
        yield "its shards are not in order"
    if not 1 <= record.parts[0] <= record.parts[-1] <= record.shards:
        yield f"it holds a shard beyond {record.shards}"
    shards = {part - 1: Shard(part, record.shards) for part in record.parts}
    expected = sum(each.size(data.pictures, record.batch) for each in shards.values())
    seen = [*record.places, *(each.place for each in record.damaged)]
    if len(seen) != expected or len(set(seen)) != expected:
        yield "its images do not match its shards"
    if not all(
        0 <= place < data.pictures and place // record.batch % record.shards in shards
        for place in seen
    ):
        yield "its images do not match its shards"
    if list(record.places) != sorted(record.places):
        yield "its images are not in order"
    if not files:
        yield "it has no file"
    known = count if record.has_classes else 0
    if any(len(each.predicted) != count or len(each.ranks) != known for each in files):
        yield "a file does not have one outcome for each image"
    if any(not -1 <= each < data.classes for file in files for each in file.predicted):
        yield "a class index is out of range"
    if any(not 0 <= each <= TOP for file in files for each in file.ranks):
        yield "a rank is out of range"
    if any(
        rank < TOP and predicted < 0
        for file in files
        for predicted, rank in zip(file.predicted, file.ranks, strict=bool(file.ranks))
    ):
        yield "an output that is not finite counts as correct"
