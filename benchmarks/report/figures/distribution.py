"""Distribution of each candidate's calls: an outlined histogram, or dots if they are few."""

from collections.abc import Sequence

import numpy as np

from benchmarks.report.figures.figure import Figure, IntervalBand, Rows, Spec, hover, log_axis
from benchmarks.report.palette import INK, series
from benchmarks.report.summary import CandidateRow, Group, typical
from benchmarks.report.text import Name
from benchmarks.report.units import Unit, time_text, time_unit
from benchmarks.statistics import Estimate

# Below this number of samples, dots show more than a histogram.
_FEWEST_FOR_SHAPE = 40
_MOST_BINS = 240
# Above this ratio of slowest to fastest, a linear axis would compress the fastest to a line.
_WIDEST_LINEAR = 10


def distribution(group: Group) -> Figure:
    """Return a plot with one row per candidate on a common time axis."""
    rows = [row for row in group.rows if row.samples]
    unit = time_unit(median for row in rows if (median := typical(row)))
    low = min(min(row.samples) for row in rows)
    # The caption counts the few calls that are many times slower. They are not drawn.
    high = max(
        float(np.quantile(row.samples, 0.99 if len(row.samples) > 99 else 1)) for row in rows
    )
    logarithmic = high > _WIDEST_LINEAR * low
    place = Rows(len(rows), 58)
    traces: list[Spec] = []
    labels: list[Spec] = []
    for index, row in enumerate(rows):
        band = place.band(index)
        scaled = np.array(row.samples) / unit.size
        kept = scaled[scaled <= high / unit.size]
        if len(kept) < _FEWEST_FOR_SHAPE:
            traces.append(_dots(kept, band, row))
        else:
            traces.append(_silhouette(kept, band, row, logarithmic))
        traces.append(_median(row, unit, band))
        labels += place.labels(index, row.name, unit.text(typical(row) or 0.0))
    horizontal = {"title": f"{unit.name} per call", **_range(low, high, unit, logarithmic)}
    layout = place.layout(horizontal, labels)
    return Figure(
        f"Latency on {group.label}", _caption(rows, high), {"data": traces, "layout": layout}
    )


def _range(low: float, high: float, unit: Unit, logarithmic: bool) -> Spec:
    if logarithmic:
        return log_axis(low / unit.size, high / unit.size, 0.03)
    pad = 0.03 * (high - low) or 0.05 * high
    return {"range": [(low - pad) / unit.size, (high + pad) / unit.size]}


def _caption(rows: Sequence[CandidateRow], high: float) -> tuple[str | Name, ...]:
    parts: list[str | Name] = ["The line is the median."]
    separator = " Beyond the right edge: "
    for row in rows:
        beyond = [sample for sample in row.samples if sample > high]
        if beyond:
            calls = "1 call" if len(beyond) == 1 else f"{len(beyond):,} calls"
            parts += [
                f"{separator}{calls} of ",
                Name(row.name),
                f", up to {time_text(max(beyond))}",
            ]
            separator = "; "
    return (*parts, "." if len(parts) > 1 else "")


def _silhouette(
    values: np.ndarray, band: IntervalBand, row: CandidateRow, logarithmic: bool
) -> Spec:
    """Return the outline of a histogram, scaled to its band."""
    places = np.log(values) if logarithmic else values
    heights, edges = np.histogram(places, bins=_bins(places))
    if logarithmic:
        edges = np.exp(edges)
    tops = band.low + band.height * heights / heights.max()
    x = np.concatenate([[edges[0]], np.repeat(edges, 2)[1:-1], [edges[-1]]])
    y = np.concatenate([[band.low], np.repeat(tops, 2), [band.low]])
    colour = series(row.number).light
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [round(float(value), 6) for value in x],
        "y": [round(float(value), 4) for value in y],
        "fill": "toself",
        "fillcolor": f"{colour}59",
        "line": {"color": colour, "width": 1},
        "hoverinfo": "skip",
    }


def _bins(values: np.ndarray) -> int:
    """Return the number of bins by the rule of Freedman and Diaconis, which ignores outliers."""
    quarter, three_quarters = np.quantile(values, (0.25, 0.75))
    width = 2 * (three_quarters - quarter) / len(values) ** (1 / 3)
    extent = float(values.max() - values.min())
    return int(min(max(extent / width, 8), _MOST_BINS)) if width > 0 and extent > 0 else 8


def _dots(values: np.ndarray, band: IntervalBand, row: CandidateRow) -> Spec:
    # Spread by the golden ratio, so that neighbours never overlap and the plot is reproducible.
    heights = (np.arange(len(values)) * 0.618 % 1) * 0.8 + 0.1
    return {
        "type": "scatter",
        "mode": "markers",
        "x": values.round(6).tolist(),
        "y": (band.low + band.height * heights).round(4).tolist(),
        "marker": {"color": series(row.number).light, "size": 6, "opacity": 0.7},
        "hoverinfo": "skip",
    }


def _median(row: CandidateRow, unit: Unit, band: IntervalBand) -> Spec:
    """Return a line across the band with seven points for hover text."""
    middle = (typical(row) or 0.0) / unit.size
    lines = [row.name, f"median {unit.text(middle * unit.size)}"]
    for name, figure in (("median", row.median), ("p90", row.p90), ("p99", row.p99)):
        if isinstance(figure, Estimate):
            interval = unit.interval(figure.interval.low, figure.interval.high)
            lines.append(f"{name} {unit.text(figure.value)} ({interval})")
    if isinstance(row.median, Estimate):
        del lines[1]
    heights = np.linspace(band.low, band.high, 7)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [middle] * len(heights),
        "y": heights.round(4).tolist(),
        "line": {"color": INK.light, "width": 2},
        "hoverinfo": "text",
        "hovertext": hover(*lines, f"{len(row.samples):,} samples"),
    }
