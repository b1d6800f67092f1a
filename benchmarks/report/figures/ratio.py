"""Ratio of each candidate's time to the first one's, with its interval."""

from benchmarks.report.figures.figure import (
    Figure,
    IntervalBand,
    Rows,
    Spec,
    behind,
    error_bar,
    hover,
    log_axis,
)
from benchmarks.report.palette import LINE, MUTED, series
from benchmarks.report.summary import CandidateRow, RunView
from benchmarks.report.text import Name
from benchmarks.report.units import interval_text, ratio_text
from benchmarks.statistics import Estimate

# Above this span of ratios, the axis is logarithmic.
_WIDEST_LINEAR = 4


def ratios(view: RunView) -> Figure | None:
    """Return a plot with a dot and an interval per candidate; None without ratios."""
    pairs = [(row, row.ratio) for row in view.rows if isinstance(row.ratio, Estimate)]
    if not pairs or view.baseline is None:
        return None
    place = Rows(len(pairs), 46)
    traces: list[Spec] = []
    labels: list[Spec] = []
    for index, (row, ratio) in enumerate(pairs):
        traces.append(_mark(row, ratio, place.band(index)))
        interval = interval_text(ratio.interval.low, ratio.interval.high)
        labels += place.labels(index, row.name, f"{ratio_text(ratio.value)} ({interval})")
    noise = view.run.noise
    equal = {"color": MUTED.light, "width": 1.2}
    shapes = [behind("line", (1.0, 1.0), (0, 1), equal, yref="paper")]
    caption: list[str | Name] = ["1 is ", Name(view.baseline.name), "; left of it is faster."]
    if noise:
        band = {"yref": "paper", "fillcolor": LINE.light}
        shapes.insert(0, behind("rect", (1 / noise, noise), (0, 1), {"width": 0}, **band))
        caption.append(" The grey band is the noise of this machine.")
    reach = [edge for _, ratio in pairs for edge in (ratio.interval.low, ratio.interval.high)]
    horizontal = {"title": "time per image / first candidate's", **_range(reach, noise or 1.0)}
    layout = place.layout(horizontal, labels, shapes=shapes)
    title = "Compared with the first candidate"
    return Figure(title, tuple(caption), {"data": traces, "layout": layout})


def _mark(row: CandidateRow, ratio: Estimate, band: IntervalBand) -> Spec:
    colour = series(row.number).light
    low, high = ratio.interval.low, ratio.interval.high
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [ratio.value],
        "y": [band.middle],
        "error_x": error_bar(ratio.value, low, high, colour, thickness=2, width=4),
        "marker": {"color": colour, "size": 10},
        "hoverinfo": "text",
        "hovertext": hover(row.name, f"{ratio_text(ratio.value)} ({interval_text(low, high)})"),
    }


def _range(reach: list[float], noise: float) -> Spec:
    low, high = min(*reach, 1 / noise), max(*reach, noise)
    if high > _WIDEST_LINEAR * low:
        return log_axis(low, high, 0.04)
    pad = 0.05 * max(high - low, 0.05)
    return {"range": [low - pad, high + pad]}
