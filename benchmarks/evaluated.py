"""Accuracies from ``slide-deploy evaluate``, for the accuracy plots of reports.

Results name files by hash, so that a figure is never attributed to another file of the same name.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks.record import Artifact, Run
from slide_deploy.errors import InputError
from slide_deploy.evaluation.figures import rows_of
from slide_deploy.evaluation.result_file import read
from slide_deploy.evaluation.statistics import Share


def read_accuracies(paths: Iterable[Path]) -> dict[str, Share]:
    """Return top-1 accuracies by the SHA-256 of the file.

    Args:
        paths: Paths of evaluation results.

    Raises:
        InputError: A result cannot be read, covers only a part of the data, has no labels, or two
            results are about the same file.
    """
    found: dict[str, Share] = {}
    owners: dict[str, Path] = {}
    for path in paths:
        record = read(path)
        if not record.is_whole:
            raise InputError(
                f"--accuracy {path} is one of {record.shards} parts: merge them with slide-deploy "
                f"evaluate --merge."
            )
        for row in rows_of(record):
            if row.top1 is None or not row.top1.of:
                raise InputError(f"--accuracy {path} has no accuracy: evaluate on labelled images.")
            if owners.setdefault(row.sha256, path) != path:
                raise InputError(
                    f"--accuracy {path} and {owners[row.sha256]} are both about {row.name}: give "
                    f"one of them."
                )
            found[row.sha256] = row.top1
    return found


def require_use(accuracies: dict[str, Share], artifacts: Iterable[Artifact | None]) -> None:
    """Check that the accuracies are about one of the measured files at least.

    Raises:
        InputError: They are about none of the files.
    """
    measured = {each.sha256: each.name for each in artifacts if each is not None}
    if accuracies and not measured.keys() & accuracies.keys():
        names = ", ".join(sorted(set(measured.values())))
        raise InputError(
            f"--accuracy has no result for {names}: evaluate exactly these files, as a new export "
            f"counts as another file."
        )


def stated(artifact: Artifact, accuracies: dict[str, Share]) -> Artifact:
    """Return the artifact with the measured accuracy of its file, if there is one."""
    share = accuracies.get(artifact.sha256)
    if share is None:
        return artifact
    return replace(
        artifact,
        accuracy=share.value,
        accuracy_interval=(share.low, share.high),
        published_accuracy=None,
    )


def stated_run(run: Run, accuracies: dict[str, Share]) -> Run:
    """Return the run with the measured accuracies of its files."""
    return replace(
        run,
        measurements=tuple(
            each
            if each.artifact is None
            else replace(each, artifact=stated(each.artifact, accuracies))
            for each in run.measurements
        ),
    )
