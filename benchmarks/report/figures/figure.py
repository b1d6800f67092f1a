"""What all plots share: one row a candidate, its name above its marks.

A name to the left of a plot would take half of a phone's width. Above its row it has the whole
width, and the figure of the row stands at the right end of the same line.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from benchmarks.report.palette import INK, LINE, MUTED, SURFACE
from benchmarks.report.sentence import Sentence
from benchmarks.report.text import clean, clip

Spec = dict[str, Any]

_TOP, _BOTTOM = 6, 46
# Pixels of a row that its label takes.
_LABEL = 20
_WIDE_NAME, _NARROW_NAME = 52, 26
# Ticks of a logarithmic axis within each power of ten, and how many labels a phone has room for.
_STEPS, _MOST_TICKS = ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)), 7


@dataclass(frozen=True)
class Figure:
    """One plot.

    Attributes:
        title: above it.
        caption: below it: how to read it, and what it leaves out.
        spec: plotly's ``data`` and ``layout``, in the colours of the light theme.
    """

    title: str
    caption: Sentence
    spec: Spec


@dataclass(frozen=True)
class IntervalBand:
    """The part of one row that is for marks, in the units of the vertical axis."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Where a single mark stands."""
        return (self.low + self.high) / 2

    @property
    def height(self) -> float:
        """From the lowest to the highest mark."""
        return self.high - self.low


@dataclass(frozen=True)
class Rows:
    """So many rows of so many pixels; the first is the highest."""

    count: int
    pixels: int

    def band(self, index: int) -> IntervalBand:
        """Where the marks of a row go."""
        floor = self.count - index - 1
        return IntervalBand(floor + 2 / self.pixels, floor + 1 - _LABEL / self.pixels)

    def labels(self, index: int, name: str, value: str) -> list[Spec]:
        """The name of a row and, at the right end, its figure."""
        common = {
            "xref": "paper",
            "y": self.count - index,
            "yanchor": "top",
            "showarrow": False,
            "borderpad": 1,
            # Grid lines end at the words instead of crossing them.
            "bgcolor": SURFACE.light,
        }
        left = {
            **common,
            "x": 0,
            "xanchor": "left",
            "text": label(clip(name, _WIDE_NAME)),
            # The page shows this one where it is narrow: plotly gives annotations no other place.
            "name": label(clip(name, _NARROW_NAME)),
            "hovertext": label(name),
        }
        right = {**common, "x": 1, "xanchor": "right", "text": label(value)}
        return [left, right | {"font": {"color": MUTED.light}}] if value else [left]

    def layout(self, axis: Mapping[str, Any], annotations: Sequence[Spec], **more: Any) -> Spec:
        """The layout of a plot of rows; ``axis`` is what is special of the horizontal one."""
        vertical = {"range": [0, self.count], "visible": False, "fixedrange": True}
        height = self.count * self.pixels + _TOP + _BOTTOM
        return base_layout(
            height=height, xaxis=x_axis(axis), yaxis=vertical, annotations=annotations, **more
        )


def base_layout(height: int, **more: Any) -> Spec:
    """Calm, transparent, without zoom: a finger on a plot scrolls the page."""
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
    """A horizontal axis; ``special`` has its title, range and the like."""
    return axis(special) | {"automargin": False}


def axis(special: Mapping[str, Any]) -> Spec:
    """An axis of either direction."""
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
    """What is special of a logarithmic axis: its range, and whole numbers at its ticks.

    Left to itself plotly writes the first digit only between powers of ten: 5 1 2 5 10 2.

    Args:
        low: the smallest value, above 0.
        high: the largest value.
        margin: beyond both, in powers of ten.
    """
    ends = [math.log10(low) - margin, math.log10(high) + margin]
    values = _log_ticks(10 ** ends[0], 10 ** ends[1])
    texts = [f"{value:,.10g}" for value in values]
    return {"type": "log", "range": ends, "tickvals": values, "ticktext": texts}


def _log_ticks(low: float, high: float) -> list[float]:
    """The most of the usual steps of each power of ten that are not too many for a phone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for digits in _STEPS:
        # 2 * 10**-1 would be 0.2, 3 * 10**-1 not quite 0.3.
        values = [float(f"{digit}e{power}") for power in powers for digit in digits]
        ticks = [value for value in values if low <= value <= high]
        if len(ticks) <= _MOST_TICKS:
            break
    return ticks[:: -(-len(ticks) // _MOST_TICKS) or 1]


def label(text: str) -> str:
    """A text as plotly shows it literally: it reads tags and entities in every label."""
    # A pair of dollars would make it a formula.
    return escape(clean(text), quote=False).replace("$", "&#36;")


def hover(*lines: str) -> str:
    """Several lines for a pointer that rests on a mark."""
    return "<br>".join(label(line) for line in lines)


def vertical_line(x: float, colour: str, dash: str = "solid") -> Spec:
    """A line through all rows."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "layer": "below",
        "line": {"color": colour, "width": 1.2, "dash": dash},
    }
