"""Shows an evaluation as a table and remarks."""

from collections.abc import Callable, Iterator

from rich.markup import escape
from rich.table import Table

from slide_deploy.evaluation.figures import AccuracyRow, rows_of
from slide_deploy.evaluation.record import Record
from slide_deploy.evaluation.statistics import Difference, Share
from slide_deploy.terminal.console import figures, table, texts
from slide_deploy.terminal.printable import counted

# How many damaged images are named; the result file lists all of them.
_NAMED = 5


def evaluation_table(record: Record) -> Table:
    """One row for each file, in percent, with the interval below each value."""
    rows = rows_of(record)
    graded = rows[0].top1 is not None
    has_top5 = rows[0].top5 is not None
    several = len(rows) > 1
    # Header of each column of figures, its cell of a row, and whether the column is shown.
    columns: list[tuple[str, Callable[[AccuracyRow], str], bool]] = [
        ("top-1 %", lambda row: _percent(row.top1), graded),
        ("top-5 %", lambda row: _percent(row.top5), has_top5),
        ("agrees %", lambda row: _percent(row.agreement), several),
        ("change, points", lambda row: _points(row.change), several and graded),
        ("p", lambda row: _p(row.change), several and graded),
    ]
    shown = [(header, cell) for header, cell, is_shown in columns if is_shown]
    return table(
        escape(_title(record)),
        [*texts("file", "runs on"), *figures(*(header for header, _ in shown))],
        (
            (escape(row.name), escape(row.runtime), *(cell(row) for _, cell in shown))
            for row in rows
        ),
    )


def remarks(record: Record) -> Iterator[str]:
    """Remarks that explain the table, sentences without a full stop."""
    rows = rows_of(record)
    data = record.data
    if len(rows) > 1:
        kind = "the trained network" if record.trained else "the first file"
        yield f"agreement, change and p are against {rows[0].name}, {kind}; intervals are 95 %"
    else:
        yield "intervals are 95 %"
    if not record.has_classes:
        yield f"{data.source} has images without classes: only agreement is known"
    if data.others:
        yield f"{counted(data.others, 'file')} skipped that are not images"
    if record.damaged:
        count = len(record.damaged)
        named = "; ".join(each.reason.rstrip(".") for each in record.damaged[:_NAMED])
        more = f"; and {count - _NAMED} more, see --json" if count > _NAMED else ""
        yield f"{counted(count, 'unreadable image')} skipped: {named}{more}"
    if not record.is_whole:
        shown = ", ".join(map(str, record.parts))
        yield f"shard {shown} of {record.shards}: merge all of them with --merge"
    for row in rows:
        if row.not_finite:
            verb = "it counts" if row.not_finite == 1 else "they count"
            yield (
                f"{row.name} outputs numbers that are not finite for "
                f"{counted(row.not_finite, 'image')}; {verb} as wrong"
            )
    trained = record.files[0].normalisation if record.trained else ""
    for file in record.files[1:]:
        if trained and file.normalisation and file.normalisation != trained:
            yield (
                f"{file.name} uses {file.normalisation}, and {rows[0].name} {trained}: one of them "
                f"differs from training"
            )
    for each in dict.fromkeys(file.prepared for file in record.files):
        yield f"images: {each}"


def _title(record: Record) -> str:
    data, count = record.data, len(record.places)
    pictures = counted(data.pictures, "image")
    shown = pictures if count == data.pictures else f"{count:,} of {pictures}"
    how = f", {counted(data.classes, 'class')} {data.numbering}" if record.has_classes else ""
    drawn = f", drawn with seed {data.seed}" if data.sample else ""
    return f"{shown} of {data.source}{how}{drawn}"


def _percent(share: Share | None) -> str:
    if share is None:
        return ""
    if not share.of:
        return "–"
    return f"{_digits(share.value)}\n{_digits(share.low)}–{_digits(share.high)}"


def _digits(share: float) -> str:
    return f"{100 * share:.2f}".removesuffix(".00") if share in (0, 1) else f"{100 * share:.2f}"


def _points(change: Difference | None) -> str:
    if change is None:
        return ""
    if change.value != change.value:  # NaN: no images
        return "–"
    return f"{_signed(change.value)}\n{_signed(change.low)} to {_signed(change.high)}"


def _signed(share: float) -> str:
    points = round(100 * share, 2)
    return f"{points:+.2f}" if points else "0.00"


def _p(change: Difference | None) -> str:
    if change is None:
        return ""
    return f"{change.p:.1e}" if change.p < 0.001 else f"{change.p:.3f}"
