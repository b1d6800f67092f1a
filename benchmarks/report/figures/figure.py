"""Layout that all plots share: one row per candidate, with its name above its marks.

A name to the left of a plot would take half the width of a phone. Above the row, it has the whole
width. The figure of the row is at the right end of the same line.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from benchmarks.report.palette import INK, LINE, MUTED, SURFACE
from benchmarks.report.text import Sentence, clean, clip

Spec = dict[str, Any]

_TOP, _BOTTOM = 6, 46
# Pixels of the label of a row.
_LABEL = 20
_WIDE_NAME, _NARROW_NAME = 52, 26
# Ticks of a logarithmic axis within each power of ten, and the labels that fit on a phone.
_STEPS, _MOST_TICKS = ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)), 7


@dataclass(frozen=True)
class Figure:
    """One plot.

    Attributes:
        title: Title above the plot.
        caption: Caption below the plot: how to read it, and what it leaves out.
        spec: plotly's ``data`` and ``layout``, in the colours of the light theme.
    """

    title: str
    caption: Sentence
    spec: Spec


@dataclass(frozen=True)
class IntervalBand:
    """Vertical range of the marks of one row, in units of the vertical axis."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Position of a single mark."""
        return (self.low + self.high) / 2

    @property
    def height(self) -> float:
        """Distance from the lowest to the highest mark."""
        return self.high - self.low


@dataclass(frozen=True)
class Rows:
    """Rows of equal height in pixels. The first row is at the top."""

    count: int
    pixels: int

    def band(self, index: int) -> IntervalBand:
        """Return the range of the marks of a row."""
        floor = self.count - index - 1
        return IntervalBand(floor + 2 / self.pixels, floor + 1 - _LABEL / self.pixels)

    def labels(self, index: int, name: str, value: str) -> list[Spec]:
        """Return annotations for the name of a row and, at the right end, its figure."""
        common = {
            "xref": "paper",
            "y": self.count - index,
            "yanchor": "top",
            "showarrow": False,
            "borderpad": 1,
            # Hides grid lines behind the text.
            "bgcolor": SURFACE.light,
        }
        left = {
            **common,
            "x": 0,
            "xanchor": "left",
            "text": label(clip(name, _WIDE_NAME)),
            # Narrow pages show this text. plotly has no other field for it.
            "name": label(clip(name, _NARROW_NAME)),
            "hovertext": label(name),
        }
        right = {**common, "x": 1, "xanchor": "right", "text": label(value)}
        return [left, right | {"font": {"color": MUTED.light}}] if value else [left]

    def layout(self, axis: Mapping[str, Any], annotations: Sequence[Spec], **more: Any) -> Spec:
        """Return the layout of a plot of rows; ``axis`` has settings of the horizontal axis."""
        vertical = {"range": [0, self.count], "visible": False, "fixedrange": True}
        height = self.count * self.pixels + _TOP + _BOTTOM
        return base_layout(
            height=height, xaxis=x_axis(axis), yaxis=vertical, annotations=annotations, **more
        )


def base_layout(height: int, **more: Any) -> Spec:
    """Return a transparent layout without zoom, so that a finger on a plot scrolls the page."""
    clear = "rgba(0,0,0,0)"
    return {
        "height": height,
        "margin": {"l": 12, "r": 12, "t": _TOP, "b": _BOTTOM},
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK.light},
        "hoverlabel": {
            "bgcolor": SURFACE.light,
            "bordercolor": MUTED.light,
            "font": {"color": INK.light},
            "align": "left",
        },
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": False,
        **more,
    }


def x_axis(special: Mapping[str, Any]) -> Spec:
    """Return a horizontal axis; ``special`` has its title, range and other settings."""
    return axis(special) | {"automargin": False}


def axis(special: Mapping[str, Any]) -> Spec:
    """Return an axis of either direction."""
    title = {"text": special["title"], "font": {"color": MUTED.light, "size": 12}, "standoff": 8}
    return {
        "gridcolor": LINE.light,
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"color": MUTED.light},
        "nticks": 6,
        **special,
        "title": title,
    }


def log_axis(low: float, high: float, margin: float) -> Spec:
    """Return settings of a logarithmic axis: its range, and ticks with full numbers.

    By default, plotly writes only the first digit between powers of ten: 5 1 2 5 10 2.

    Args:
        low: Smallest value, above 0.
        high: Largest value.
        margin: Margin on both sides, in powers of ten.
    """
    ends = [math.log10(low) - margin, math.log10(high) + margin]
    values = _log_ticks(10 ** ends[0], 10 ** ends[1])
    texts = [f"{value:,.10g}" for value in values]
    return {"type": "log", "range": ends, "tickvals": values, "ticktext": texts}


def _log_ticks(low: float, high: float) -> list[float]:
    """Return the densest usual ticks that fit on a phone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in _STEPS:
        # Parsed from text, as 3 * 10**-1 is not exactly 0.3.
        values = [float(f"{digit}e{power}") for power in powers for digit in digits]
        ticks = [value for value in values if low <= value <= high]
        if len(ticks) <= _MOST_TICKS:
            break
    return ticks[:: -(-len(ticks) // _MOST_TICKS) or 1]


def label(text: str) -> str:
    """Escape a text for plotly, which parses tags and entities in every label."""
    # plotly renders text between two dollars as a formula.
    return escape(clean(text), quote=False).replace("$", "&#36;")


def hover(*lines: str) -> str:
    """Return the hover text of a mark from several lines."""
    return "<br>".join(label(line) for line in lines)


def behind(
    kind: str, x: tuple[float, float], y: tuple[float, float], line: Spec, **more: Any
) -> Spec:
    """Return a line or a rectangle behind the marks, from one corner to the other."""
    corners = {"x0": x[0], "x1": x[1], "y0": y[0], "y1": y[1]}
    return {"type": kind, **corners, "layer": "below", "line": line, **more}


def error_bar(value: float, low: float, high: float, colour: str, **more: Any) -> Spec:
    """Return the error bar of a mark; ``more`` has its thickness and width in pixels."""
    ends = {"array": [high - value], "arrayminus": [value - low]}
    return {"type": "data", "symmetric": False, "color": colour, **ends, **more}
