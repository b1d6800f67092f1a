"""A limit on the accuracy that a file may lose, in points of top-1 against the baseline.

The measured difference decides, not the end of its interval: with that, even an identical file
would need thousands of images to pass. A warning says how far the interval reaches.
"""

from collections.abc import Iterator

from slide_deploy.errors import InputError
from slide_deploy.evaluation.figures import AccuracyRow, rows_of
from slide_deploy.evaluation.record import Record
from slide_deploy.images.collection import Collection
from slide_deploy.terminal.printable import counted


def require_limit(max_drop: float) -> None:
    """Reject an invalid limit.

    Raises:
        InputError: if it is negative, above 100 or NaN.
    """
    if not 0 <= max_drop <= 100:
        raise InputError(
            f"--max-drop {max_drop:g} is not a limit: give percentage points such as 0.5."
        )


def require_use(collection: Collection, files: int) -> None:
    """Reject an evaluation that could show nothing: one file or network, images without classes.

    Raises:
        InputError: if there is neither a class nor a second file.
    """
    if files < 2 and not collection.has_labels:
        raise InputError(
            f"{collection.source} has images without classes: give one folder for each class, a "
            f"CSV file of path,label, or --against to see whether outputs agree."
        )


def require_comparison(has_classes: bool, files: int, shards: int) -> None:
    """Reject an evaluation that cannot be gated.

    Args:
        has_classes: whether the correct classes are known.
        files: number of files, including the trained network.
        shards: number of shards if some are missing; 1 for a whole data set.

    Raises:
        InputError: if there is no accuracy, no baseline, or only a part of the data set.
    """
    if not has_classes:
        raise InputError(
            "--max-drop needs images with known classes: give one folder for each class, or a CSV "
            "file of path,label."
        )
    if files < 2:
        raise InputError(
            "--max-drop needs a baseline: give --against, or name the baseline file first."
        )
    if shards > 1:
        raise InputError(
            "--max-drop needs the whole data set: leave it out here, and give it to --merge with "
            "the results of all shards."
        )


def require_gated(record: Record) -> None:
    """Reject a record that cannot be gated.

    Raises:
        InputError: if the classes are unknown, there is only one file, or a shard is missing.
    """
    require_comparison(
        record.has_classes, len(record.files), 1 if record.is_whole else record.shards
    )


def failures(record: Record, max_drop: float) -> tuple[str, ...]:
    """One sentence, without a full stop, for each file that loses too much.

    Args:
        record: accuracies of the files; the first is the baseline.
        max_drop: percentage points of top-1 that a file may lose against the baseline.
    """
    first, *others = rows_of(record)
    # Losses against a broken baseline mean nothing.
    found = [_broken(first)] if first.not_finite else []
    for row in others:
        lost = _lost(row)
        # Rounding must not decide: a loss of exactly the limit passes.
        if not lost <= max_drop + 1e-9:
            found.append(
                f"{row.name} loses {lost:.2f} points of top-1 against {first.name}, more than "
                f"{max_drop:g}"
            )
        elif row.not_finite:
            found.append(_broken(row))
    return tuple(found)


def _broken(row: AccuracyRow) -> str:
    return f"{row.name} outputs numbers that are not finite for {counted(row.not_finite, 'image')}"


def gate_warnings(record: Record, max_drop: float) -> Iterator[str]:
    """One sentence for each file that passes while its interval exceeds the limit."""
    for row in rows_of(record)[1:]:
        if row.change is None or not _lost(row) <= max_drop + 1e-9:
            continue
        worst = -100 * row.change.low
        if worst > max_drop:
            yield (
                f"{row.name} may lose up to {worst:.2f} points (95 %), more than {max_drop:g}: "
                f"more images would narrow this"
            )


def _lost(row: AccuracyRow) -> float:
    """Percentage points of top-1 that a file loses; NaN if unknown."""
    return float("nan") if row.change is None else -100 * row.change.value
