"""Ratio of each candidate's time to the first one's, with its interval."""

from benchmarks.report.figures.figure import (
    Figure,
    IntervalBand,
    Rows,
    Spec,
    hover,
    log_axis,
    vertical_line,
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
    shapes = [vertical_line(1.0, MUTED.light)]
    caption: list[str | Name] = ["1 is ", Name(view.baseline.name), "; left of it is faster."]
    if noise:
        shapes.insert(0, _noise(noise))
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
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - ratio.value],
            "arrayminus": [ratio.value - low],
            "color": colour,
            "thickness": 2,
            "width": 4,
        },
        "marker": {"color": colour, "size": 10},
        "hoverinfo": "text",
        "hovertext": hover(row.name, f"{ratio_text(ratio.value)} ({interval_text(low, high)})"),
    }


def _noise(noise: float) -> Spec:
    return {
        "type": "rect",
        "x0": 1 / noise,
        "x1": noise,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "layer": "below",
        "fillcolor": LINE.light,
        "line": {"width": 0},
    }


def _range(reach: list[float], noise: float) -> Spec:
    low, high = min(*reach, 1 / noise), max(*reach, noise)
    if high > _WIDEST_LINEAR * low:
        return log_axis(low, high, 0.04)
    pad = 0.05 * max(high - low, 0.05)
    return {"range": [low - pad, high + pad]}
