"""What accuracy a candidate has for its time; the upper left corner is the best."""

from benchmarks.report.figures.figure import Figure, Spec, axis, base_layout, hover, x_axis
from benchmarks.report.palette import MUTED, SURFACE, series
from benchmarks.report.summary import Row, RunView, typical
from benchmarks.report.units import Unit, time_unit


def accuracy(view: RunView) -> Figure | None:
    """A numbered mark a candidate; None unless two candidates state their accuracy."""
    points = [
        (seconds / row.batch, _accuracy(row), row)
        for row in view.measured
        if (seconds := typical(row)) and _accuracy(row) >= 0
    ]
    points.sort(key=lambda point: (point[0], -point[1]))
    if len(points) < 2:
        return None
    unit = time_unit(seconds for seconds, _, _ in points)
    traces = [_front([(seconds, share) for seconds, share, _ in points], unit)]
    traces += [_mark(seconds, share, row, unit) for seconds, share, row in points]
    shares = [share for _, share, _ in points]
    pad = max(0.2 * (max(shares) - min(shares)), 0.002)
    vertical = {
        "title": "accuracy",
        "tickformat": ".1%",
        "range": [min(shares) - pad, max(shares) + pad],
    }
    layout = base_layout(
        height=300,
        xaxis=x_axis({"title": f"{unit.name} an image", "rangemode": "tozero"}),
        yaxis=axis(vertical),
    )
    layout["margin"]["l"] = 62
    caption = (
        "Numbers as in the table; up and to the left is better. No candidate is both faster and "
        "more accurate than those on the line.",
    )
    return Figure("Accuracy against latency", caption, {"data": traces, "layout": layout})


def _accuracy(row: Row) -> float:
    """Its accuracy; below 0 where it states none."""
    artifact = row.measurement.artifact
    return -1.0 if artifact is None or artifact.accuracy is None else artifact.accuracy


def _front(points: list[tuple[float, float]], unit: Unit) -> Spec:
    """Those that no other beats in both: from the fastest on, each more accurate than before."""
    best: list[tuple[float, float]] = []
    for seconds, share in points:
        if not best or share > best[-1][1]:
            best.append((seconds, share))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [seconds / unit.size for seconds, _ in best],
        "y": [share for _, share in best],
        "line": {"color": MUTED.light, "width": 1.2, "dash": "dot", "shape": "hv"},
        "hoverinfo": "skip",
    }


def _mark(seconds: float, share: float, row: Row, unit: Unit) -> Spec:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [seconds / unit.size],
        "y": [share],
        "text": [str(row.number)],
        "textfont": {"color": SURFACE.light, "size": 11},
        "marker": {
            "color": series(row.number).light,
            "size": 22,
            "line": {"color": SURFACE.light, "width": 1.5},
        },
        "cliponaxis": False,
        "hoverinfo": "text",
        "hovertext": hover(row.name, f"{unit.text(seconds)} an image", f"{share:.1%}"),
    }
