"""What ``slide-deploy evaluate`` found of files, for the plots of accuracy.

A result says which file it is about by its hash, so that no figure goes to another file of the same
name.
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
    """Top-1 by the hash of the file.

    Args:
        paths: of results of evaluations.

    Raises:
        InputError: if one cannot be read, is of a part of the data or of pictures without classes,
            or two speak of one file.
    """
    found: dict[str, Share] = {}
    owners: dict[str, Path] = {}
    for path in paths:
        record = read(path)
        if not record.is_whole:
            raise InputError(
                f"--accuracy {path} is a part of {record.shards}: join all of them with "
                f"slide-deploy evaluate --merge."
            )
        for row in rows_of(record):
            if row.top1 is None or not row.top1.of:
                raise InputError(
                    f"--accuracy {path} states no accuracy: evaluate on pictures whose classes are "
                    f"known."
                )
            if owners.setdefault(row.sha256, path) != path:
                raise InputError(
                    f"--accuracy {path} and {owners[row.sha256]} both speak of {row.name}: name "
                    f"one of them."
                )
            found[row.sha256] = row.top1
    return found


def require_use(accuracies: dict[str, Share], artifacts: Iterable[Artifact | None]) -> None:
    """Refuse results that speak of none of the files.

    Raises:
        InputError: if so.
    """
    measured = {each.sha256: each.name for each in artifacts if each is not None}
    if accuracies and not measured.keys() & accuracies.keys():
        names = ", ".join(sorted(set(measured.values())))
        raise InputError(
            f"--accuracy speaks of none of {names}: evaluate these very files; a file that was "
            f"written again is another one."
        )


def stated(artifact: Artifact, accuracies: dict[str, Share]) -> Artifact:
    """What is known of a file, with the accuracy that was found, if one was."""
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
    """A run with the accuracies of its files."""
    return replace(
        run,
        measurements=tuple(
            each
            if each.artifact is None
            else replace(each, artifact=stated(each.artifact, accuracies))
            for each in run.measurements
        ),
    )
