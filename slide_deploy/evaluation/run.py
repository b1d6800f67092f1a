"""Runs classifiers over a collection of pictures: each picture read once, all of them asked."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy import __version__
from slide_deploy.backends import ImageSession
from slide_deploy.errors import InputError
from slide_deploy.evaluation.classes import Numbering, number_labels
from slide_deploy.evaluation.classifier import TOP, Classifier, Judgements
from slide_deploy.evaluation.record import Damaged, Data, Outcomes, Record
from slide_deploy.evaluation.sharding import WHOLE, Shard
from slide_deploy.evaluation.statistics import Share, share
from slide_deploy.files.hashing import text_sha256
from slide_deploy.images.collection import Collection, Picture
from slide_deploy.images.preprocessing import ImageInput, image_input
from slide_deploy.terminal.printable import as_text, counted

# Neighbours that are computed together where a file leaves its batch open.
BATCH = 8
# A picture, prepared as each kind of input wants it.
_Prepared = dict[ImageInput, np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """How to evaluate.

    Attributes:
        names: of the classes, in the order of the logits, to match labels with; those that a file
            holds if empty.
        batch: neighbours that are computed together; more where a file has a larger one.
        sample: how many pictures to draw; None for all.
        seed: of the draw.
        shard: which part to do.
        trained: whether the first classifier is the trained network.
    """

    names: tuple[str, ...] = ()
    batch: int = BATCH
    sample: int | None = None
    seed: int = 0
    shard: Shard = WHOLE
    trained: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one opened file.

    Attributes:
        top1: pictures whose class it held most probable.
        top5: pictures whose class was among its first five, of which there may be no more.
        not_finite: pictures for which it gave a number that is not finite.
        damaged: pictures that could not be read.
    """

    top1: Share
    top5: Share
    not_finite: int
    damaged: tuple[Damaged, ...]


def evaluate(
    classifiers: Sequence[Classifier],
    collection: Collection,
    wanted: Wanted | None = None,
    done: Callable[[int], None] = lambda pictures: None,
) -> Record:
    """Ask every classifier for the class of every picture.

    Args:
        classifiers: those that are evaluated; others are held against the first.
        collection: the pictures.
        wanted: how.
        done: is told of so many more pictures.

    Returns:
        The outcome of every picture, from which ``figures`` computes shares and tests.

    Raises:
        InputError: if a classifier cannot be run, they tell other numbers of classes apart, a label
            means no class, or no picture can be read.
    """
    wanted = wanted or Wanted()
    drawn = collection if wanted.sample is None else collection.sample(wanted.sample, wanted.seed)
    batch = _batch_of(classifiers, wanted.batch, len(drawn.pictures))
    classes = _classes(classifiers, drawn, batch)
    numbering = (
        number_labels(collection, classes, _names(classifiers, wanted.names))
        if drawn.has_labels
        else None
    )
    truth = [] if numbering is None else _truth(drawn, numbering)
    batches = list(wanted.shard.batches(len(drawn.pictures), batch))
    judged = [Judgements() for _ in classifiers]
    places, damaged = _judge(classifiers, judged, drawn.pictures, truth, batches, batch, done)
    return Record(
        tool=__version__,
        data=Data(
            source=as_text(collection.source),
            layout=collection.layout,
            sha256=text_sha256("\n".join([drawn.digest, *map(str, truth)])),
            pictures=len(drawn.pictures),
            others=collection.others,
            classes=classes,
            numbering="" if numbering is None else numbering.how,
            sample=wanted.sample or 0,
            seed=wanted.seed,
        ),
        batch=batch,
        shards=wanted.shard.count,
        parts=(wanted.shard.index,),
        trained=wanted.trained,
        places=tuple(places),
        damaged=tuple(damaged),
        files=tuple(
            Outcomes(
                name=each.name,
                sha256=each.sha256,
                runtime=each.file.session.runtime,
                version=each.file.session.version,
                prepared=str(each.taken),
                normalisation=each.normalisation,
                predicted=tuple(found.predicted),
                ranks=tuple(found.ranks),
            )
            for each, found in zip(classifiers, judged, strict=True)
        ),
    )


def picture_count(classifiers: Sequence[Classifier], collection: Collection, wanted: Wanted) -> int:
    """How many pictures ``evaluate`` will read."""
    drawn = len(collection.pictures)
    if wanted.sample is not None:
        drawn = min(drawn, wanted.sample)
    return wanted.shard.size(drawn, _batch_of(classifiers, wanted.batch, drawn))


def evaluate_session(
    file: ImageSession,
    collection: Collection,
    *,
    names: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    output: str | None = None,
    batch: int = BATCH,
) -> Outcome:
    """How often one opened file is right; nothing is printed, recorded or held against anything.

    Args:
        file: an opened file that takes pictures.
        collection: pictures whose classes are known.
        names: of the classes, in the order of the logits, to match labels with; those that a file
            holds if empty.
        size: height and width where the file leaves them open.
        output: of the file to read; the one that holds classes if left out.
        batch: pictures of one call where the file leaves it open.

    Raises:
        InputError: if the file cannot be run, nobody knows the classes, a label means none, or no
            picture can be read.
    """
    taken = image_input(file, size)
    only = Classifier(str(collection.source), "", file, taken, output)
    return evaluate_classifier(only, collection, names=names, batch=batch)


def evaluate_classifier(
    classifier: Classifier,
    collection: Collection,
    *,
    names: Sequence[str] = (),
    batch: int = BATCH,
) -> Outcome:
    """The same for a file, or a network, that is a classifier already.

    Args:
        classifier: what is asked.
        collection: pictures whose classes are known.
        names: of the classes, in the order of the logits; those that the classifier holds if empty.
        batch: pictures of one call where the classifier leaves it open.

    Raises:
        InputError: as ``evaluate_session``.
    """
    if not collection.has_labels:
        raise InputError(
            f"{collection.source} says no class of its pictures: give one folder for each class, "
            f"or a CSV file of path,label."
        )
    only = [classifier]
    batch = _batch_of(only, batch, len(collection.pictures))
    numbering = number_labels(collection, _classes(only, collection, batch), _names(only, names))
    judged = Judgements()
    pictures = collection.pictures
    batches = list(WHOLE.batches(len(pictures), batch))
    truth = _truth(collection, numbering)
    places, damaged = _judge(only, [judged], pictures, truth, batches, batch, lambda count: None)
    return Outcome(
        top1=share(sum(rank == 0 for rank in judged.ranks), len(places)),
        top5=share(sum(rank < TOP for rank in judged.ranks), len(places)),
        not_finite=sum(each < 0 for each in judged.predicted),
        damaged=tuple(damaged),
    )


def _batch_of(classifiers: Sequence[Classifier], batch: int, pictures: int) -> int:
    """Neighbours that are computed together: no less than a file has room for.

    Args:
        classifiers: that are asked.
        batch: as it was asked for.
        pictures: of the whole set, the same on every shard; more of them would only be filled up.
    """
    if batch < 1:
        raise InputError(f"--batch {batch} takes no picture: give 1 or more.")
    return max(min(batch, pictures), *(each.file.image.shape[0] or 1 for each in classifiers))


def _classes(classifiers: Sequence[Classifier], collection: Collection, batch: int) -> int:
    """How many classes all of them tell apart, found with the first picture that can be read."""
    picture = _first(classifiers, collection)
    counts = [each.rows([picture[each.taken]], batch).shape[1] for each in classifiers]
    for each, count in zip(classifiers, counts, strict=True):
        if count != counts[0]:
            raise InputError(
                f"{each.name} tells {counted(count, 'class')} apart and "
                f"{classifiers[0].name} {counts[0]}: evaluate files of one network together."
            )
    return counts[0]


def _names(classifiers: Sequence[Classifier], given: Sequence[str]) -> Sequence[str]:
    """Names of the classes: those that the user gave, else those of the first file that has any."""
    named = [each for each in classifiers if each.labels]
    for each in named[1:]:
        _require_order(named[0], each)
    return given or (named[0].labels if named else ())


def _require_order(first: Classifier, other: Classifier) -> None:
    """Refuse files that give one name to different classes."""
    ours, theirs = (_indices(each.labels) for each in (first, other))
    for name in theirs:
        if ours.get(name, theirs[name]) != theirs[name]:
            raise InputError(
                f"{other.name} calls class {theirs[name][0]} {name} and {first.name} calls class "
                f"{ours[name][0]} so: export both with the same --labels."
            )


def _indices(labels: Sequence[str]) -> dict[str, list[int]]:
    """The classes of each name; some names of ImageNet have two."""
    found: dict[str, list[int]] = {}
    for index, name in enumerate(labels):
        found.setdefault(name, []).append(index)
    return found


def _first(classifiers: Sequence[Classifier], collection: Collection) -> _Prepared:
    reason = ""
    for picture in collection.pictures:
        try:
            return _prepared(classifiers, picture)
        except InputError as error:
            reason = reason or str(error)
    raise InputError(
        f"{collection.source} has {counted(len(collection.pictures), 'picture')} and none can be "
        f"read; of the first: {reason}"
    )


def _prepared(classifiers: Sequence[Classifier], picture: Picture) -> _Prepared:
    return {kind: kind.load(picture.path) for kind in {each.taken for each in classifiers}}


def _truth(collection: Collection, numbering: Numbering) -> list[int]:
    return [numbering.indices[each.label] for each in collection.pictures if each.label is not None]


def _judge(
    classifiers: Sequence[Classifier],
    judged: Sequence[Judgements],
    pictures: Sequence[Picture],
    truth: Sequence[int],
    batches: Sequence[range],
    batch: int,
    done: Callable[[int], None],
) -> tuple[list[int], list[Damaged]]:
    """Let all classifiers judge some batches.

    Returns:
        Places of the pictures that were read, and those that could not be.
    """
    places: list[int] = []
    damaged: list[Damaged] = []
    for members in batches:
        read = dict(_read(classifiers, pictures, members, damaged))
        places += read
        for each, found in zip(classifiers, judged, strict=True):
            if read:
                rows = each.rows([prepared[each.taken] for prepared in read.values()], batch)
                found.add(rows, [truth[place] for place in read] if truth else [])
        done(len(members))
    return places, damaged


def _read(
    classifiers: Sequence[Classifier],
    pictures: Sequence[Picture],
    members: range,
    damaged: list[Damaged],
) -> Iterator[tuple[int, _Prepared]]:
    for place in members:
        try:
            yield place, _prepared(classifiers, pictures[place])
        except InputError as error:
            name, reason = map(as_text, (pictures[place].name, str(error)))
            damaged.append(Damaged(place, name, reason))
