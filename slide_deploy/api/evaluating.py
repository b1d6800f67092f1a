"""Evaluation in Python: accuracy of files on labelled images, and merging of shards."""

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
from slide_deploy.evaluation.classifier import (
    Classifier,
    names_of,
    open_classifier,
    refuse_as_network,
)
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
    """The result of an evaluation. Its ``repr`` is the table of the command line.

    Attributes:
        record: the outcome of every image, as a result file stores it.
    """

    record: Record

    @property
    def rows(self) -> tuple[AccuracyRow, ...]:
        """The figures of each file. The first row is the baseline of the others."""
        return rows_of(self.record)

    @property
    def damaged(self) -> tuple[Damaged, ...]:
        """Images that could not be read, with the reason."""
        return self.record.damaged

    @public
    def raise_if_dropped(self, max_drop: float) -> None:
        """Raise if the top-1 accuracy of a file is too far below that of the first file.

        Args:
            max_drop: largest allowed drop in percentage points, such as 0.5.

        Raises:
            CheckFailed: if a file drops further, or its outputs were not finite.
            InputError: if nothing can be compared: there is one file, no labels, or one shard.
        """
        gate.require_limit(max_drop)
        gate.require_gated(self.record)
        failures = gate.failures(self.record, max_drop)
        if failures:
            raise CheckFailed(f"{'; '.join(failures)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-compatible data, the content of a result file."""
        return result_file.as_dict(self.record)

    def save(self, path: PathLike) -> None:
        """Write a result file; ``slide-deploy evaluate --merge`` and ``bench --accuracy`` read it.

        Args:
            path: path of the file; an existing file is replaced.

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
    """Measure the accuracy of files on images, and whether the files differ.

    Args:
        files: exported files. The first is the baseline of the others unless ``against`` is given;
            with ``against``, the list may be empty.
        data: a folder with one folder for each class, or a CSV file of ``path,label``. With
            ``against`` or several files, a plain folder of images is enough to see whether they
            agree.
        against: the trained network, which becomes the baseline: a module, the path of a
            checkpoint, or the result of ``load``.
        inputs: example inputs of ``forward``; only for a module.
        labels: class names in the order of the logits, the path of a file with one name a line, or
            "imagenet". Default: the labels stored in a file.
        image_size: image size for files with an open size: 224, (512, 768) or "512x768".
        output: name of the output with the classes, where several are possible.
        sample: number of images to draw. The same images are drawn on every machine.
        seed: seed of the sample.
        batch: number of images in one call, for files with an open batch.
        shard: which part of the data to evaluate: "3/16" or (3, 16) is the third of sixteen.
        progress: show a progress bar on stderr, or call this function after each batch.

    Returns:
        The accuracies with 95 % intervals in ``rows``. ``raise_if_dropped`` is a gate on them.

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
    gate.require_use(collection, len(paths) + wanted.trained)
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
    """Merge the results of all shards of a data set into the result of the whole set.

    Args:
        results: results, or the paths of result files, in any order.

    Raises:
        InputError: if the results are of different files or images, or a shard is missing or given
            twice.
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

    if isinstance(against, str | os.PathLike):
        refuse_as_network(path_of(against, "against"))
    if isinstance(against, str | os.PathLike) and inputs is None:
        return trained_classifier(load(against, dynamic_batch=True), output)
    return trained_classifier(network_of(against, inputs), output)


@contextmanager
def _counted(progress: Progress, total: int) -> Iterator[Callable[[int], None]]:
    """Provide the function to call with the number of images that were just evaluated."""
    from slide_deploy.terminal.progress import Counted

    if not callable(progress):
        with Counted(not progress, total, "pictures") as done:
            yield done
        return
    finished = 0

    def report(more: int) -> None:
        nonlocal finished
        finished += more
        progress(f"{finished:,} of {total:,} images")

    yield report
