"""What accuracy a candidate has for its time; the upper left corner is the best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.report.figures.figure import Figure, Spec, axis, base_layout, hover, label, x_axis
from benchmarks.report.figures.lines import Lines
from benchmarks.report.palette import MUTED, SURFACE, series
from benchmarks.report.sentence import Sentence
from benchmarks.report.summary import Row, RunView, typical
from benchmarks.report.text import clip
from benchmarks.report.units import Unit, time_unit

# So many letters have room in a mark, and so many in the legend.
_MOST_LETTERS, _LONGEST_LINE = 2, 26


@dataclass(frozen=True)
class _Point:
    """A candidate that states its accuracy.

    Attributes:
        seconds: of one image.
        share: of right answers.
        row: the candidate.
    """

    seconds: float
    share: float
    row: Row

    @property
    def line(self) -> str:
        """The family whose members are joined."""
        return self.row.measurement.candidate.line

    @property
    def is_published(self) -> bool:
        """Whether its accuracy is that of a publication."""
        artifact = self.row.measurement.artifact
        return artifact is not None and artifact.published_accuracy is not None

    @property
    def letters(self) -> str:
        """What its mark shows: what its name adds to that of its line, or its number.

        Slide-Swin-T on the line Slide-Swin shows T.
        """
        candidate = self.row.measurement.candidate
        name = candidate.name.partition(f" on {candidate.target}")[0]
        rest = name.removeprefix(f"{self.line}-")
        fits = self.line and rest != name and 0 < len(rest) <= _MOST_LETTERS
        return rest if fits else str(self.row.number)


def accuracy(view: RunView) -> Iterator[Figure]:
    """One plot of all candidates; where some are on lines, one for each group of candidates.

    A plot needs two candidates that state their accuracy.
    """
    points = list(_points(view.rows))
    lines = Lines(tuple(dict.fromkeys(each.line for each in points if each.line)))
    if not lines.names:
        if len(points) > 1:
            yield _figure("Accuracy against latency", points, lines)
        return
    for group in view.groups:
        numbers = {row.number for row in group.rows}
        members = [each for each in points if each.row.number in numbers]
        if len(members) > 1:
            yield _figure(f"Accuracy against latency on {group.label}", members, lines)


def _points(rows: Sequence[Row]) -> Iterator[_Point]:
    for row in rows:
        seconds, artifact = typical(row), row.measurement.artifact
        if not seconds or artifact is None:
            continue
        share = artifact.accuracy
        if share is None:
            share = artifact.published_accuracy
        if share is not None:
            yield _Point(seconds / row.batch, share, row)


def _figure(title: str, points: Sequence[_Point], lines: Lines) -> Figure:
    points = sorted(points, key=lambda point: (point.seconds, -point.share))
    unit = time_unit(point.seconds for point in points)
    if lines.names:
        present = {point.line for point in points}
        traces = [_line(name, lines, points, unit) for name in lines.names if name in present]
    else:
        traces = [_front(points, unit)]
    traces += [_mark(point, lines, unit) for point in points]
    shares = [point.share for point in points]
    pad = max(0.12 * (max(shares) - min(shares)), 0.002)
    is_published = all(point.is_published for point in points)
    vertical = {
        "title": "accuracy, as published" if is_published else "accuracy",
        "tickformat": ".1~%",
        "range": [min(shares) - pad, max(shares) + pad],
    }
    layout = base_layout(
        height=420 if lines.names else 300,
        xaxis=x_axis({"title": f"{unit.name} an image", "rangemode": "tozero"}),
        yaxis=axis(vertical),
    )
    layout["margin"]["l"] = 62
    if lines.names:
        layout["showlegend"] = True
        # The corner of the slow and inaccurate is the emptiest.
        layout["legend"] = {
            **{"x": 1, "xanchor": "right", "y": 0, "yanchor": "bottom"},
            "bgcolor": SURFACE.light,
        }
    return Figure(title, _caption(points, lines), {"data": traces, "layout": layout})


def _caption(points: Sequence[_Point], lines: Lines) -> Sentence:
    caption = (
        "A line joins the sizes of a family; up and to the left is better."
        if lines.names
        else "Numbers as in the table; up and to the left is better. No candidate is both faster "
        "and more accurate than those on the line."
    )
    published = [point.row.number for point in points if point.is_published]
    if published:
        numbers = ", ".join(map(str, sorted(published)))
        of = "" if len(published) == len(points) else f" of {numbers}"
        caption += (
            f" Accuracy{of} is as published of the network, not measured with these files; "
            f"latency is measured."
        )
    return (caption,)


def _front(points: Sequence[_Point], unit: Unit) -> Spec:
    """Those that no other beats in both: from the fastest on, each more accurate than before."""
    best: list[_Point] = []
    for point in points:
        if not best or point.share > best[-1].share:
            best.append(point)
    line = {"color": MUTED.light, "width": 1.2, "dash": "dot", "shape": "hv"}
    return _path(best, unit) | {"line": line}


def _line(name: str, lines: Lines, points: Sequence[_Point], unit: Unit) -> Spec:
    """The members of a family, the fastest first."""
    dash = "dot" if lines.is_host(name) else "solid"
    return _path([point for point in points if point.line == name], unit) | {
        "line": {"color": lines.colour(name), "width": 2, "dash": dash},
        "name": label(clip(name, _LONGEST_LINE)),
    }


def _path(points: Sequence[_Point], unit: Unit) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [point.seconds / unit.size for point in points],
        "y": [point.share for point in points],
        "hoverinfo": "skip",
    }


def _mark(point: _Point, lines: Lines, unit: Unit) -> Spec:
    row, colour = point.row, series(point.row.number).light
    fill, ink, edge, size = colour, SURFACE.light, SURFACE.light, 22
    if point.line:
        size = 18  # letters need less room than numbers, and members of families come close
        colour, fill = lines.colour(point.line), lines.fill(point.line)
        ink, edge = (colour, colour) if lines.is_host(point.line) else (ink, edge)
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [point.seconds / unit.size],
        "y": [point.share],
        "text": [label(point.letters)],
        "textfont": {"color": ink, "size": 11},
        "marker": {"color": fill, "size": size, "line": {"color": edge, "width": 1.5}},
        "cliponaxis": False,
        "showlegend": False,
        "hoverinfo": "text",
        "hovertext": hover(
            row.name,
            f"{unit.text(point.seconds)} an image",
            f"{point.share:.1%}{', as published' if point.is_published else ''}",
        ),
    }
