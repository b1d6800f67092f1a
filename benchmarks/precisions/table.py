"""A table of size and accuracy in each precision, compared with the trained network."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.generated_page import Grid
from benchmarks.precisions.files import WrittenPrecision
from slide_deploy.evaluation.figures import AccuracyRow
from slide_deploy.evaluation.statistics import Difference, Share
from slide_deploy.precisions import precision_named
from slide_deploy.terminal.console import figures, texts
from slide_deploy.terminal.printable import counted

# Percentage points of top-1 that a quantised file may lose.
MAX_DROP = 0.5
# Significance level: a less probable split of the images counts as a loss of an unquantised file.
_CHANCE = 0.05

_HEADERS = (
    *texts("format", "precision", "runs on"),
    *figures("MB", "of float32", "top-1 %", "agrees %", "change, points", "p"),
)


def price_table(
    checkpoint: Path, rows: Sequence[AccuracyRow], files: Sequence[WrittenPrecision]
) -> Grid:
    """Return a table with one line per file.

    Args:
        checkpoint: Checkpoint of the trained network.
        rows: Accuracy of the trained network, then of each file.
        files: The written files.
    """
    trained, *others = rows
    # Sizes of the float32 files, for the ratios.
    whole = {each.format.name: each.size for each in files if each.precision == "float32"}
    first = ("as trained", "float32", trained.runtime, "", "", _percent(trained.top1), "", "", "")
    lines = [
        (
            written.format.name,
            written.precision,
            row.runtime,
            f"{written.size / 1e6:.2f}",
            _ratio(written.size, whole.get(written.format.name)),
            _percent(row.top1),
            _percent(row.agreement),
            _points(row.change),
            "" if row.change is None else f"{row.change.p:.2g}",
        )
        for row, written in zip(others, files, strict=True)
    ]
    count = trained.top1.of if trained.top1 else 0
    return Grid(
        f"{checkpoint.name} on {count:,} held-out images",
        _HEADERS,
        (first, *lines),
        "Intervals are 95 %. Agreement and change are relative to the trained network, image by "
        "image. p is from McNemar's exact test.",
    )


def losses(rows: Sequence[AccuracyRow], files: Sequence[WrittenPrecision]) -> Iterator[str]:
    """Yield a sentence for each file that loses more accuracy than its precision may.

    A quantised file may lose ``MAX_DROP``. Other files may have no significant loss.

    Args:
        rows: Accuracy of the trained network, then of each file.
        files: The written files.
    """
    for row, written in zip(rows[1:], files, strict=True):
        change = row.change
        if change is None:
            continue
        lost = -100 * change.value
        if row.not_finite:
            images = counted(row.not_finite, "image")
            yield f"{written} has outputs that are not finite for {images}."
        if precision_named(written.precision).is_quantised:
            # The tolerance for rounding errors keeps a loss of exactly 0.5 points within the limit.
            if not lost <= MAX_DROP + 1e-9:
                yield f"{written} loses {lost:.2f} points of top-1, more than {MAX_DROP:g}."
        elif not (lost <= 0 or change.p >= _CHANCE):
            yield f"{written} loses {lost:.2f} points of top-1, which is significant."


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
