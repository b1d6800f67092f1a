"""What accuracy a candidate has for its time, or for its size; the upper left corner is best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.record import Artifact
from benchmarks.report.figures.figure import Figure, Spec, axis, base_layout, hover, label, x_axis
from benchmarks.report.figures.lines import Lines
from benchmarks.report.palette import MUTED, SURFACE, series
from benchmarks.report.sentence import Sentence
from benchmarks.report.summary import CandidateRow, RunView, typical
from benchmarks.report.text import clip
from benchmarks.report.units import Unit, byte_unit, time_unit

# So many letters have room in a mark, and so many in the legend.
_MOST_LETTERS, _LONGEST_LINE = 2, 26


@dataclass(frozen=True)
class _Point:
    """A candidate that states its accuracy.

    Attributes:
        cost: seconds of one image, or bytes of the file.
        share: of right answers.
        low, high: ends of the interval of the share; the share itself where there is none.
        row: the candidate.
    """

    cost: float
    share: float
    low: float
    high: float
    row: CandidateRow

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


@dataclass(frozen=True)
class _Cost:
    """What accuracy is held against.

    Attributes:
        unit: of its figures.
        axis: what a figure is of, behind the unit.
        better: than another candidate.
        measured: a clause on where the figures come from.
    """

    unit: Unit
    axis: str
    better: str
    measured: str

    def text(self, value: float) -> str:
        """One figure, for a pointer that rests on it."""
        return f"{self.unit.text(value)} {self.axis}"


def _latency(points: Sequence[_Point]) -> _Cost:
    unit = time_unit(point.cost for point in points)
    return _Cost(unit, "an image", "faster", "latency is measured")


def _size(points: Sequence[_Point]) -> _Cost:
    unit = byte_unit(point.cost for point in points)
    return _Cost(unit, "on disk", "smaller", "sizes are those of these files")


def accuracy(view: RunView) -> Iterator[Figure]:
    """One plot of all candidates; where some are on lines, one for each group of candidates.

    A plot needs two candidates that state their accuracy.
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
    """One plot of all files whose own accuracy is known, each once whatever runs it.

    Accuracies of publications are left out: they belong to weights that these files need not hold.
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
    """A candidate with the accuracy of its file, or that of its publication; None without one."""
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
        # The corner of the slow and inaccurate is the emptiest.
        layout["legend"] = {
            **{"x": 1, "xanchor": "right", "y": 0, "yanchor": "bottom"},
            "bgcolor": SURFACE.light,
        }
    return Figure(title, _caption(points, lines, cost), {"data": traces, "layout": layout})


def _caption(points: Sequence[_Point], lines: Lines, cost: _Cost) -> Sentence:
    caption = (
        "A line joins the sizes of a family; up and to the left is better."
        if lines.names
        else f"Numbers as in the table; up and to the left is better. No candidate is both "
        f"{cost.better} and more accurate than those on the line."
    )
    if any(point.low < point.high for point in points):
        caption += (
            " Bars are 95 % intervals of each share on its own; slide-deploy evaluate compares "
            "files picture by picture, which tells smaller differences."
        )
    published = [point.row.number for point in points if point.is_published]
    if published:
        numbers = ", ".join(map(str, sorted(published)))
        of = "" if len(published) == len(points) else f" of {numbers}"
        caption += (
            f" Accuracy{of} is as published of the network, not measured with these files; "
            f"{cost.measured}."
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
        "x": [point.cost / unit.size for point in points],
        "y": [point.share for point in points],
        "hoverinfo": "skip",
    }


def _mark(point: _Point, lines: Lines, cost: _Cost) -> Spec:
    row, colour = point.row, series(point.row.number).light
    fill, ink, edge, size = colour, SURFACE.light, SURFACE.light, 22
    if point.line:
        size = 18  # letters need less room than numbers, and members of families come close
        colour, fill = lines.colour(point.line), lines.fill(point.line)
        ink, edge = (colour, colour) if lines.is_host(point.line) else (ink, edge)
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [point.cost / cost.unit.size],
        "y": [point.share],
        **_bar(point, colour),
        "text": [label(point.letters)],
        "textfont": {"color": ink, "size": 11},
        "marker": {"color": fill, "size": size, "line": {"color": edge, "width": 1.5}},
        "cliponaxis": False,
        "showlegend": False,
        "hoverinfo": "text",
        "hovertext": hover(
            row.name,
            cost.text(point.cost),
            f"{point.share:.1%}{', as published' if point.is_published else ''}{_interval(point)}",
        ),
    }


def _bar(point: _Point, colour: str) -> Spec:
    """The interval of the share; nothing where there is none."""
    if not point.low < point.high:
        return {}
    bar = {"type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 5}
    ends = {"array": [point.high - point.share], "arrayminus": [point.share - point.low]}
    return {"error_y": bar | ends}


def _interval(point: _Point) -> str:
    return f", {point.low:.1%} to {point.high:.1%}" if point.low < point.high else ""
