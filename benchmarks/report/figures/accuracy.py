"""Plots of accuracy against latency, and against file size. The upper left corner is best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.record import Artifact
from benchmarks.report.figures.figure import (
    Figure,
    Spec,
    axis,
    base_layout,
    error_bar,
    hover,
    label,
    x_axis,
)
from benchmarks.report.palette import MUTED, SURFACE, series
from benchmarks.report.summary import CandidateRow, RunView, typical
from benchmarks.report.text import Sentence, clip
from benchmarks.report.units import Unit, byte_unit, time_unit

# Maximum characters in a mark and in the legend.
_MOST_LETTERS, _LONGEST_LINE = 2, 26


@dataclass(frozen=True)
class Lines:
    """Families of candidates. A plot joins the members of a family with a line.

    A family whose name ends with the name of another is a variant of it: Slide-Swin of Swin, its
    host. Both have the same colour. The host's line is dotted and its marks are hollow.

    Attributes:
        names: Distinct names, in the order of the candidates.
    """

    names: tuple[str, ...]

    def colour(self, name: str) -> str:
        """Return the colour of a line in the light theme: that of its host."""
        hosts = [each for each in self.names if self._host(each) is None]
        host = self._host(name) or name
        return series(hosts.index(host) + 1).light

    def is_host(self, name: str) -> bool:
        """Return whether another line is a variant of this one."""
        return any(self._host(each) == name for each in self.names)

    def fill(self, name: str) -> str:
        """Return the colour inside the marks of a line."""
        return SURFACE.light if self.is_host(name) else self.colour(name)

    def _host(self, name: str) -> str | None:
        """Return the shortest other name that ends this one after a hyphen, or None."""
        found = [each for each in self.names if name.endswith(f"-{each}")]
        return min(found, key=len, default=None)


@dataclass(frozen=True)
class _Point:
    """A candidate with a known accuracy.

    Attributes:
        cost: Seconds per image, or bytes of the file.
        share: Top-1 accuracy.
        low, high: Ends of its interval; equal to the accuracy if there is none.
        row: The candidate.
    """

    cost: float
    share: float
    low: float
    high: float
    row: CandidateRow

    @property
    def line(self) -> str:
        """The family of the candidate."""
        return self.row.measurement.candidate.line

    @property
    def is_published(self) -> bool:
        """Whether its accuracy is from a publication."""
        artifact = self.row.measurement.artifact
        return artifact is not None and artifact.published_accuracy is not None

    @property
    def letters(self) -> str:
        """Text in its mark: the suffix of its name after that of its line, or its number.

        Slide-Swin-T on the line Slide-Swin shows T.
        """
        candidate = self.row.measurement.candidate
        name = candidate.name.partition(f" on {candidate.target}")[0]
        rest = name.removeprefix(f"{self.line}-")
        fits = self.line and rest != name and 0 < len(rest) <= _MOST_LETTERS
        return rest if fits else str(self.row.number)


@dataclass(frozen=True)
class _Cost:
    """The horizontal axis of a plot of accuracy.

    Attributes:
        unit: Unit of the figures.
        axis: Words after the unit.
        better: Comparative for a lower cost.
        measured: Clause on the source of the figures.
    """

    unit: Unit
    axis: str
    better: str
    measured: str

    def text(self, value: float) -> str:
        """Format a figure for the hover text."""
        return f"{self.unit.text(value)} {self.axis}"


def _latency(points: Sequence[_Point]) -> _Cost:
    unit = time_unit(point.cost for point in points)
    return _Cost(unit, "per image", "faster", "latency is measured")


def _size(points: Sequence[_Point]) -> _Cost:
    unit = byte_unit(point.cost for point in points)
    return _Cost(unit, "on disk", "smaller", "sizes are those of these files")


def accuracy(view: RunView) -> Iterator[Figure]:
    """Yield one plot of all candidates or, if there are families, one for each group.

    A plot needs two candidates with a known accuracy.
    """
    points = list(_points(view.rows))
    lines = Lines(tuple(dict.fromkeys(each.line for each in points if each.line)))
    if not lines.names:
        if len(points) > 1:
            yield _figure("Accuracy against latency", points, lines, _latency(points))
        return
    for group in view.groups:
        numbers = {row.number for row in group.rows}
        members = [each for each in points if each.row.number in numbers]
        if len(members) > 1:
            yield _figure(
                f"Accuracy against latency on {group.label}", members, lines, _latency(members)
            )


def accuracy_by_size(view: RunView) -> Iterator[Figure]:
    """Yield one plot of all files with a known accuracy, each file once.

    Published accuracies are left out, as they may belong to other weights than these files have.
    """
    points: dict[tuple[str, str], _Point] = {}
    for row in view.rows:
        artifact = row.measurement.artifact
        if artifact is None or artifact.accuracy is None:
            continue
        point = _point(artifact.size, artifact, row)
        if point is not None:
            points.setdefault((artifact.name, artifact.sha256), point)
    if len(points) > 1:
        found = list(points.values())
        yield _figure("Accuracy against file size", found, Lines(()), _size(found))


def _points(rows: Sequence[CandidateRow]) -> Iterator[_Point]:
    for row in rows:
        seconds, artifact = typical(row), row.measurement.artifact
        if not seconds or artifact is None:
            continue
        point = _point(seconds / row.batch, artifact, row)
        if point is not None:
            yield point


def _point(cost: float, artifact: Artifact, row: CandidateRow) -> _Point | None:
    """Return a point with the accuracy of the file or, without it, the published one, or None."""
    share = artifact.accuracy
    if share is None:
        share = artifact.published_accuracy
    if share is None:
        return None
    low, high = artifact.accuracy_interval or (share, share)
    return _Point(cost, share, low, high, row)


def _figure(title: str, points: Sequence[_Point], lines: Lines, cost: _Cost) -> Figure:
    points = sorted(points, key=lambda point: (point.cost, -point.share))
    unit = cost.unit
    if lines.names:
        present = {point.line for point in points}
        traces = [_line(name, lines, points, unit) for name in lines.names if name in present]
    else:
        traces = [_front(points, unit)]
    traces += [_mark(point, lines, cost) for point in points]
    lowest, highest = min(point.low for point in points), max(point.high for point in points)
    pad = max(0.12 * (highest - lowest), 0.002)
    is_published = all(point.is_published for point in points)
    vertical = {
        "title": "accuracy, as published" if is_published else "accuracy",
        "tickformat": ".1~%",
        "range": [lowest - pad, highest + pad],
    }
    layout = base_layout(
        height=420 if lines.names else 300,
        xaxis=x_axis({"title": f"{unit.name} {cost.axis}", "rangemode": "tozero"}),
        yaxis=axis(vertical),
    )
    layout["margin"]["l"] = 62
    if lines.names:
        layout["showlegend"] = True
        # Few points lie in the lower right corner, where files are slow and inaccurate.
        layout["legend"] = {
            **{"x": 1, "xanchor": "right", "y": 0, "yanchor": "bottom"},
            "bgcolor": SURFACE.light,
        }
    return Figure(title, _caption(points, lines, cost), {"data": traces, "layout": layout})


def _caption(points: Sequence[_Point], lines: Lines, cost: _Cost) -> Sentence:
    caption = (
        "A line joins the sizes of a family; up and to the left is better."
        if lines.names
        else f"Numbers are those of the table; up and to the left is better. No candidate is both "
        f"{cost.better} and more accurate than those on the line."
    )
    if any(point.low < point.high for point in points):
        caption += (
            " Bars are 95 % intervals of each accuracy on its own; slide-deploy evaluate compares "
            "files image by image, which detects smaller differences."
        )
    published = [point.row.number for point in points if point.is_published]
    if published:
        numbers = ", ".join(map(str, sorted(published)))
        of = "" if len(published) == len(points) else f" of {numbers}"
        caption += (
            f" Accuracy{of} is as published for the network, not measured with these files; "
            f"{cost.measured}."
        )
    return (caption,)


def _front(points: Sequence[_Point], unit: Unit) -> Spec:
    """Return the Pareto front: from the fastest on, each point more accurate than before."""
    best: list[_Point] = []
    for point in points:
        if not best or point.share > best[-1].share:
            best.append(point)
    line = {"color": MUTED.light, "width": 1.2, "dash": "dot", "shape": "hv"}
    return _path(best, unit) | {"line": line}


def _line(name: str, lines: Lines, points: Sequence[_Point], unit: Unit) -> Spec:
    """Return the line of a family, the fastest member first."""
    dash = "dot" if lines.is_host(name) else "solid"
    return _path([point for point in points if point.line == name], unit) | {
        "line": {"color": lines.colour(name), "width": 2, "dash": dash},
        "name": label(clip(name, _LONGEST_LINE)),
    }


def _path(points: Sequence[_Point], unit: Unit) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [point.cost / unit.size for point in points],
        "y": [point.share for point in points],
        "hoverinfo": "skip",
    }


def _mark(point: _Point, lines: Lines, cost: _Cost) -> Spec:
    row, colour = point.row, series(point.row.number).light
    fill, ink, edge, size = colour, SURFACE.light, SURFACE.light, 22
    if point.line:
        size = 18  # letters are narrower than numbers, and members of families lie close together
        colour, fill = lines.colour(point.line), lines.fill(point.line)
        ink, edge = (colour, colour) if lines.is_host(point.line) else (ink, edge)
    bar, interval = {}, ""
    if point.low < point.high:
        ends = (point.share, point.low, point.high)
        bar = {"error_y": error_bar(*ends, colour, thickness=1.5, width=5)}
        interval = f", {point.low:.1%} to {point.high:.1%}"
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [point.cost / cost.unit.size],
        "y": [point.share],
        **bar,
        "text": [label(point.letters)],
        "textfont": {"color": ink, "size": 11},
        "marker": {"color": fill, "size": size, "line": {"color": edge, "width": 1.5}},
        "cliponaxis": False,
        "showlegend": False,
        "hoverinfo": "text",
        "hovertext": hover(
            row.name,
            cost.text(point.cost),
            f"{point.share:.1%}{', as published' if point.is_published else ''}{interval}",
        ),
    }
