"""Runs classifiers over a data set. Each image is read once and given to all of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy import __version__
from slide_deploy.backends import ImageSession
from slide_deploy.errors import InputError
from slide_deploy.evaluation.classes import number_labels
from slide_deploy.evaluation.classifier import TOP, Classifier, Judgements
from slide_deploy.evaluation.record import Damaged, Data, Outcomes, Record
from slide_deploy.evaluation.sharding import WHOLE, Shard
from slide_deploy.evaluation.statistics import Share, share
from slide_deploy.files.hashing import text_sha256
from slide_deploy.images.collection import Collection, Picture
from slide_deploy.images.preprocessing import ImageInput, image_input
from slide_deploy.terminal.printable import as_text, counted

# Batch size for files whose batch is open.
BATCH = 8
# One image, prepared for each kind of input.
_Prepared = dict[ImageInput, np.ndarray]


@dataclass(frozen=True)
class Wanted:
    """Options of an evaluation.

    Attributes:
        names: class names in the order of the scores, to match labels with. If empty, those stored
            in the files.
        batch: batch size; a file with a larger fixed batch raises it.
        sample: number of images to draw at random; None for all.
        seed: seed of that draw.
        shard: the shard to evaluate.
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
    """Accuracy of one opened file.

    Attributes:
        top1: share of images whose class scored highest.
        top5: share of images whose class was among the five highest scores.
        not_finite: number of images with a score that is not finite.
        damaged: images that could not be read.
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
    """Evaluate classifiers on a data set.

    Args:
        classifiers: the first is the baseline of the others.
        collection: the images.
        wanted: options.
        done: called with the number of images after each batch.

    Returns:
        The outcome of every image, from which ``figures`` computes accuracies and tests.

    Raises:
        InputError: if a classifier cannot run, their numbers of classes differ, a label matches no
            class, or no image can be read.
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
    truth = [
        numbering.indices[each.label]
        for each in drawn.pictures
        if numbering is not None and each.label is not None
    ]
    judged = [Judgements() for _ in classifiers]
    places: list[int] = []
    damaged: list[Damaged] = []
    for members in wanted.shard.batches(len(drawn.pictures), batch):
        read = dict(_read(classifiers, drawn.pictures, members, damaged))
        places += read
        for each, found in zip(classifiers, judged, strict=True):
            if read:
                rows = each.rows([prepared[each.taken] for prepared in read.values()], batch)
                found.add(rows, [truth[place] for place in read] if truth else [])
        done(len(members))
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
    """Number of images that ``evaluate`` will read."""
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
    """Accuracy of one opened file, without a record or a comparison.

    Args:
        file: an opened file whose input is an image.
        collection: images with known classes.
        names: class names in the order of the scores, to match labels with. If empty, those stored
            in the file.
        size: image height and width, for a file whose sizes are open.
        output: name of the output with the class scores; chosen automatically if None.
        batch: batch size, for a file whose batch is open.

    Raises:
        InputError: if the file cannot run, the classes are unknown, a label matches no class, or no
            image can be read.
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
    """Accuracy of one classifier, without a record or a comparison.

    Args:
        classifier: the file or network.
        collection: images with known classes.
        names: class names in the order of the scores; those of the classifier if empty.
        batch: batch size, for a classifier whose batch is open.

    Raises:
        InputError: in the same cases as ``evaluate_session``.
    """
    if not collection.has_labels:
        raise InputError(
            f"{collection.source} has images without classes: give one folder for each class, "
            f"or a CSV file of path,label."
        )
    record = evaluate([classifier], collection, Wanted(tuple(names), batch))
    (judged,) = record.files
    return Outcome(
        top1=share(sum(rank == 0 for rank in judged.ranks), len(record.places)),
        top5=share(sum(rank < TOP for rank in judged.ranks), len(record.places)),
        not_finite=sum(each < 0 for each in judged.predicted),
        damaged=record.damaged,
    )


def _batch_of(classifiers: Sequence[Classifier], batch: int, pictures: int) -> int:
    """The batch size: at least the fixed batch of every file.

    Args:
        classifiers: those under evaluation.
        batch: the requested batch size.
        pictures: number of images in the whole set, which is the same on every shard. A larger
            batch would only be padded.
    """
    if batch < 1:
        raise InputError(f"--batch {batch} is too small: give 1 or more.")
    return max(min(batch, pictures), *(each.file.image.shape[0] or 1 for each in classifiers))


def _classes(classifiers: Sequence[Classifier], collection: Collection, batch: int) -> int:
    """Number of classes, found by running the first readable image through all classifiers."""
    picture = _first(classifiers, collection)
    counts = [each.rows([picture[each.taken]], batch).shape[1] for each in classifiers]
    for each, count in zip(classifiers, counts, strict=True):
        if count != counts[0]:
            raise InputError(
                f"{each.name} has {counted(count, 'class')} and {classifiers[0].name} "
                f"{counts[0]}: evaluate files of one network together."
            )
    return counts[0]


def _names(classifiers: Sequence[Classifier], given: Sequence[str]) -> Sequence[str]:
    """Class names: those of the user, else those of the first file that stores any."""
    named = [each for each in classifiers if each.labels]
    for each in named[1:]:
        _require_order(named[0], each)
    return given or (named[0].labels if named else ())


def _require_order(first: Classifier, other: Classifier) -> None:
    """Reject files that give one name to different classes."""
    ours, theirs = (_indices(each.labels) for each in (first, other))
    for name in theirs:
        if ours.get(name, theirs[name]) != theirs[name]:
            raise InputError(
                f"{other.name} calls class {theirs[name][0]} {name} and {first.name} calls class "
                f"{ours[name][0]} so: export both with the same --labels."
            )


def _indices(labels: Sequence[str]) -> dict[str, list[int]]:
    """Class indices by name. Some names of ImageNet belong to two classes."""
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
        f"{collection.source} has {counted(len(collection.pictures), 'image')} and none can be "
        f"read. The first one: {reason}"
    )


def _prepared(classifiers: Sequence[Classifier], picture: Picture) -> _Prepared:
    return {kind: kind.load(picture.path) for kind in {each.taken for each in classifiers}}


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
