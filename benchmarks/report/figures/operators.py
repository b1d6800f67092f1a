"""Time of one call by type of operator, as the runtime's profiler reports it."""

from benchmarks.report.figures.figure import Figure, Rows, Spec, hover
from benchmarks.report.notes import operator_rows
from benchmarks.report.palette import MUTED, series
from benchmarks.report.series import OperatorBars, OperatorKind
from benchmarks.report.summary import CandidateRow
from benchmarks.report.text import Name
from benchmarks.report.units import Unit, percent_text, time_text, time_unit


def profile(row: CandidateRow, bars: OperatorBars) -> Figure:
    """Return a plot with one bar per type of operator, the slowest first, and one for the rest."""
    items = list(operator_rows(bars))
    unit = time_unit([max(seconds for _, seconds in items)])
    place = Rows(len(items), 32)
    labels: list[Spec] = []
    for index, (name, seconds) in enumerate(items):
        value = f"{unit.text(seconds)}  {percent_text(seconds / bars.total)}"
        labels += place.labels(index, name, value)
    colours = [series(row.number).light] * len(bars.bars)
    bands = [place.band(index) for index in range(len(items))]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [seconds / unit.size for _, seconds in items],
        "y": [band.middle for band in bands],
        "width": bands[0].height,
        # The bar of the rest has a neutral colour.
        "marker": {"color": [*colours, MUTED.light][: len(items)]},
        "hoverinfo": "text",
        "hovertext": [
            *(_about(kind, unit) for kind in bars.bars),
            *(hover(name, unit.text(seconds)) for name, seconds in items[len(bars.bars) :]),
        ],
    }
    layout = place.layout({"title": f"{unit.name} per call", "rangemode": "tozero"}, labels)
    caption = (
        "Operators of ",
        Name(row.name),
        f" by type, with their number; {time_text(bars.total)} in total. Profiling slows calls "
        f"down.",
    )
    spec = {"data": [trace], "layout": layout}
    return Figure(f"Operators of candidate {row.number}", caption, spec)


def _about(kind: OperatorKind, unit: Unit) -> str:
    """Return the hover text of a type, with its slowest operator."""
    most = kind.costliest
    lines = [f"{kind.name} · {kind.count:,}: {unit.text(kind.seconds)}"]
    if kind.count > 1:
        lines.append("the slowest one:")
    return hover(*lines, most.operator, most.name, unit.text(most.nanoseconds / 1e9))
