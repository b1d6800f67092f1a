"""A limit on what a file may lose: percentage points of top-1 against the first one.

The share that was found decides, not the end of its interval. A gate on the end would ask for
thousands of pictures before it let an identical file pass; a note says how far the interval goes.
"""

from collections.abc import Iterator

from slide_deploy.errors import InputError
from slide_deploy.evaluation.figures import AccuracyRow, rows_of
from slide_deploy.evaluation.record import Record
from slide_deploy.terminal.printable import counted


def require_limit(max_drop: float) -> None:
    """Refuse a limit that is none.

    Raises:
        InputError: if it is negative, above 100 or no number.
    """
    if not 0 <= max_drop <= 100:
        raise InputError(f"--max-drop {max_drop:g} is no limit: give percentage points, as 0.5.")


def require_comparison(has_classes: bool, files: int, shards: int) -> None:
    """Refuse what has nothing to hold against a limit.

    Args:
        has_classes: whether the right classes are known.
        files: how many there are, the trained network included.
        shards: into how many parts the data is divided that are not all there; 1 for the whole.

    Raises:
        InputError: if so.
    """
    if not has_classes:
        raise InputError(
            "--max-drop needs pictures whose classes are known: give one folder for each class, or "
            "a CSV file of path,label."
        )
    if files < 2:
        raise InputError(
            "--max-drop needs something to compare with: give --against, or first the file that "
            "the others are held against."
        )
    if shards > 1:
        raise InputError(
            "--max-drop judges all pictures: leave it out here, and give it to --merge with the "
            "results of all shards."
        )


def require_gated(record: Record) -> None:
    """Refuse results that have nothing to hold against a limit.

    Raises:
        InputError: if the classes are not known, there is one file alone, or a shard is missing.
    """
    require_comparison(
        record.has_classes, len(record.files), 1 if record.is_whole else record.shards
    )


def failures(record: Record, max_drop: float) -> tuple[str, ...]:
    """Why files lose too much, a sentence each without a full stop.

    Args:
        record: of all pictures.
        max_drop: percentage points of top-1.
    """
    first, *others = rows_of(record)
    # Whatever a broken baseline loses is nothing that others could lose.
    found = [_broken(first)] if first.not_finite else []
    for row in others:
        lost = _lost(row)
        # Rounding must not decide: 0.5 of 0.5 points are within the limit.
        if not lost <= max_drop + 1e-9:
            found.append(
                f"{row.name} loses {lost:.2f} points of top-1 against {first.name}, more than "
                f"{max_drop:g}"
            )
        elif row.not_finite:
            found.append(_broken(row))
    return tuple(found)


def _broken(row: AccuracyRow) -> str:
    return (
        f"{row.name} answers {counted(row.not_finite, 'picture')} with numbers that are not finite"
    )


def gate_warnings(record: Record, max_drop: float) -> Iterator[str]:
    """Files that pass and whose interval goes beyond the limit, a sentence each."""
    for row in rows_of(record)[1:]:
        if row.change is None or not _lost(row) <= max_drop + 1e-9:
            continue
        worst = -100 * row.change.low
        if worst > max_drop:
            yield (
                f"{row.name} may lose up to {worst:.2f} points (95 %), more than {max_drop:g}: "
                f"more pictures would tell"
            )


def _lost(row: AccuracyRow) -> float:
    """Percentage points of top-1 that a file loses; NaN where nothing is known."""
    return float("nan") if row.change is None else -100 * row.change.value
