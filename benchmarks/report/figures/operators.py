"""Where the time of one call goes, by the runtime's own account."""

from benchmarks.report.figures.figure import Figure, Rows, Spec, hover
from benchmarks.report.notes import operator_rows
from benchmarks.report.palette import MUTED, series
from benchmarks.report.sentence import Name
from benchmarks.report.series import OperatorBars
from benchmarks.report.summary import Row
from benchmarks.report.units import percent_text, time_text, time_unit


def profile(row: Row, bars: OperatorBars) -> Figure:
    """A bar an operator, the costliest first, the rest as one."""
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
        # The rest is no operator of its own.
        "marker": {"color": [*colours, MUTED.light][: len(items)]},
        "hoverinfo": "text",
        "hovertext": [hover(name, unit.text(seconds)) for name, seconds in items],
    }
    layout = place.layout({"title": f"{unit.name} a call", "rangemode": "tozero"}, labels)
    caption = (
        "The costliest operators of ",
        Name(row.name),
        f"; all together {time_text(bars.total)}. Profiling slows calls down.",
    )
    spec = {"data": [trace], "layout": layout}
    return Figure(f"Operators of candidate {row.number}", caption, spec)
