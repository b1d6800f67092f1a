"""A table of what each precision costs: size and accuracy against the trained network."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.generated_page import Grid
from benchmarks.precisions.files import WrittenPrecision
from slide_deploy.evaluation.figures import AccuracyRow
from slide_deploy.evaluation.statistics import Difference, Share
from slide_deploy.precisions import precision_named

# Percentage points of top-1 that a quantised file may lose.
MAX_DROP = 0.5
# A split of the pictures that is less probable than this by chance is a loss of any other file.
_CHANCE = 0.05

_HEADERS = (
    *(("format", False), ("precision", False), ("runs on", False)),
    *(("MB", True), ("of float32", True), ("top-1 %", True), ("agrees %", True)),
    *(("change, points", True), ("p", True)),
)


def price_table(
    checkpoint: Path, rows: Sequence[AccuracyRow], files: Sequence[WrittenPrecision]
) -> Grid:
    """One line a file.

    Args:
        checkpoint: of the trained network.
        rows: figures of the trained network, and of the files in their order.
        files: what was written.
    """
    trained, *others = rows
    # The numbers that training left, as the float32 files hold them.
    whole = {each.kind.format.name: each.size for each in files if each.kind.precision == "float32"}
    first = ("as trained", "float32", trained.runtime, "", "", _percent(trained.top1), "", "", "")
    lines = [
        (
            written.kind.format.name,
            written.kind.precision,
            row.runtime,
            f"{written.size / 1e6:.2f}",
            _ratio(written.size, whole.get(written.kind.format.name)),
            _percent(row.top1),
            _percent(row.agreement),
            _points(row.change),
            "" if row.change is None else f"{row.change.p:.2g}",
        )
        for row, written in zip(others, files, strict=True)
    ]
    count = trained.top1.of if trained.top1 else 0
    return Grid(
        f"{checkpoint.name} on {count:,} pictures that training never saw",
        _HEADERS,
        (first, *lines),
        "Intervals are of 95 %. Agreement and change are against the trained network, picture by "
        "picture; p is that of McNemar's exact test.",
    )


def losses(rows: Sequence[AccuracyRow], files: Sequence[WrittenPrecision]) -> Iterator[str]:
    """Files that lose more than their precision may, a sentence each.

    A quantised file may lose ``MAX_DROP``; any other one nothing that can be measured.

    Args:
        rows: figures of the trained network, and of the files in their order.
        files: what was written.
    """
    for row, written in zip(rows[1:], files, strict=True):
        change = row.change
        if change is None:
            continue
        lost = -100 * change.value
        if row.not_finite:
            count = row.not_finite
            yield f"{written.kind} answers {count} pictures with numbers that are not finite."
        if precision_named(written.kind.precision).is_quantised:
            # Rounding must not decide: 0.5 of 0.5 points are within the limit.
            if not lost <= MAX_DROP + 1e-9:
                yield f"{written.kind} loses {lost:.2f} points of top-1, more than {MAX_DROP:g}."
        elif not (lost <= 0 or change.p >= _CHANCE):
            yield f"{written.kind} loses {lost:.2f} points of top-1, and that is no chance."


def _ratio(size: int, whole: int | None) -> str:
    return "" if whole is None else f"{size / whole:.2f}"


def _percent(share: Share | None) -> str:
    if share is None:
        return ""
    return f"{100 * share.value:.2f} ({100 * share.low:.1f}–{100 * share.high:.1f})"


def _points(change: Difference | None) -> str:
    if change is None:
        return ""
    low, high = 100 * change.low, 100 * change.high
    return f"{100 * change.value:+.2f} ({low:+.2f} to {high:+.2f})"
