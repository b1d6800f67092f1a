"""Evaluation in Python: how often files are right, and the results of shards joined."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slide_deploy.api.arguments import (
    PathLike,
    Progress,
    Size,
    path_of,
    paths_of,
    public,
    size_of,
)
from slide_deploy.api.files import labels_of
from slide_deploy.errors import CheckFailed, InputError
from slide_deploy.evaluation import gate, merging, result_file
from slide_deploy.evaluation.classifier import Classifier, names_of, open_classifier
from slide_deploy.evaluation.figures import AccuracyRow, rows_of
from slide_deploy.evaluation.record import Damaged, Record
from slide_deploy.evaluation.run import Wanted, picture_count
from slide_deploy.evaluation.run import evaluate as run
from slide_deploy.evaluation.sharding import WHOLE, Shard
from slide_deploy.images.collection import read_collection

if TYPE_CHECKING:
    from slide_deploy.api.networks import Inputs, Model


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """What was evaluated; printed, it is the table of the command line.

    Attributes:
        record: the outcome of every picture, as a result file holds it.
    """

    record: Record

    @property
    def rows(self) -> tuple[AccuracyRow, ...]:
        """The figures of each file; the first one is what the others are held against."""
        return rows_of(self.record)

    @property
    def damaged(self) -> tuple[Damaged, ...]:
        """Pictures that could not be read, with the reason."""
        return self.record.damaged

    @public
    def raise_if_dropped(self, max_drop: float) -> None:
        """Do nothing if no file loses more of its top-1 than that against the first one.

        Args:
            max_drop: percentage points, as 0.5.

        Raises:
            CheckFailed: if a file loses more, or gave numbers that are not finite.
            InputError: if there is nothing to compare: one file, no classes, or one shard alone.
        """
        gate.require_limit(max_drop)
        gate.require_gated(self.record)
        failures = gate.failures(self.record, max_drop)
        if failures:
            raise CheckFailed(f"{'; '.join(failures)}.")

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data that JSON can hold: what a result file holds."""
        return result_file.as_dict(self.record)

    def save(self, path: PathLike) -> None:
        """Write a result file; ``slide-deploy evaluate --merge`` and ``bench --accuracy`` read it.

        Args:
            path: of the file, which is replaced if it exists.

        Raises:
            InputError: if it cannot be written.
        """
        from slide_deploy.files.writing import write_text

        write_text(path_of(path, "path"), result_file.encode(self.record))

    def __repr__(self) -> str:
        from slide_deploy.evaluation.shown import evaluation_table, remarks
        from slide_deploy.terminal.console import as_text

        notes = (f"note: {remark}" for remark in remarks(self.record))
        return as_text(evaluation_table(self.record), *notes)


@public
def evaluate(
    files: PathLike | Sequence[PathLike],
    data: PathLike,
    *,
    against: "Model | None" = None,
    inputs: "Inputs | None" = None,
    labels: PathLike | Sequence[str] = (),
    image_size: Size | None = None,
    output: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    batch: int = 8,
    shard: str | tuple[int, int] | None = None,
    progress: Progress = False,
) -> EvaluationResult:
    """Say how often files name the right class of pictures, and whether they differ.

    Args:
        files: written files; the first is what others are held against, unless ``against`` is
            given. May be empty then.
        data: a folder with one folder for each class, or a CSV file of ``path,label``; with
            ``against`` or several files a plain folder of pictures is enough to see whether they
            agree.
        against: the trained network: a module, the path of a checkpoint, or what ``load`` gave.
        inputs: of a module: an example of what its ``forward`` takes.
        labels: names of the classes in the order of the logits, the path of a file with one a line,
            or "imagenet"; those that a file holds if left out.
        image_size: for files that take any size: 224, (512, 768) or "512x768".
        output: of the files, where several could be the classes.
        sample: draw so many pictures, the same everywhere.
        seed: another one draws others.
        batch: pictures of one call where a file leaves it open.
        shard: do one part of the data: "3/16", or (3, 16), is the third of sixteen.
        progress: show a progress bar on stderr, or call this with each step as it is done.

    Returns:
        Shares with 95 % intervals in ``rows``; ``raise_if_dropped`` makes a gate of them.

    Raises:
        InputError: if a file, the network, the data or an argument cannot be used.
    """
    is_one = isinstance(files, str | os.PathLike)
    paths = [] if against is not None and not is_one and not files else paths_of(files, "files")
    wanted = Wanted(
        names=labels_of(labels),
        batch=batch,
        sample=sample,
        seed=seed,
        shard=_shard(shard),
        trained=against is not None,
    )
    collection = read_collection(path_of(data, "--data"))
    if len(paths) + wanted.trained < 2 and not collection.has_labels:
        raise InputError(
            f"{collection.source} has images without classes: give one folder for each class, a "
            f"CSV file of path,label, or --against to see whether answers agree."
        )
    size = size_of(image_size, "--image-size")
    found = [
        open_classifier(path, name, size, output)
        for path, name in zip(paths, names_of(paths), strict=True)
    ]
    if against is not None:
        found.insert(0, _trained(against, inputs, output))
    with _counted(progress, picture_count(found, collection, wanted)) as done:
        return EvaluationResult(run(found, collection, wanted, done))


@public
def merge_evaluations(
    results: Sequence[PathLike | EvaluationResult],
) -> EvaluationResult:
    """Join the results of all shards of one data set, as if it had been evaluated in one go.

    Args:
        results: results, or the paths of result files, in any order.

    Raises:
        InputError: if they are of other files or pictures, or a shard is missing or there twice.
    """
    records = {}
    for number, each in enumerate(results, 1):
        if isinstance(each, EvaluationResult):
            records[f"result {number}"] = each.record
        else:
            path = path_of(each, f"result {number}")
            if str(path) in records:
                raise InputError(f"{path} is named twice: name the result of each shard once.")
            records[str(path)] = result_file.read(path)
    return EvaluationResult(merging.merge(records))


def _shard(shard: str | tuple[int, int] | None) -> Shard:
    if shard is None:
        return WHOLE
    return Shard.parse(shard if isinstance(shard, str) else "/".join(map(str, shard)))


def _trained(against: "Model", inputs: "Inputs | None", output: str | None) -> Classifier:
    from slide_deploy.api.networks import load, network_of
    from slide_deploy.evaluation.trained import trained_classifier

    if isinstance(against, str | os.PathLike) and inputs is None:
        return trained_classifier(load(against, dynamic_batch=True), output)
    return trained_classifier(network_of(against, inputs), output)


@contextmanager
def _counted(progress: Progress, total: int) -> Iterator[Callable[[int], None]]:
    """What is told how many more pictures are done."""
    from slide_deploy.terminal.progress import Counted

    if not callable(progress):
        with Counted(not progress, total, "pictures") as done:
            yield done
        return
    finished = 0

    def told(more: int) -> None:
        nonlocal finished
        finished += more
        progress(f"{finished:,} of {total:,} pictures")

    yield told
