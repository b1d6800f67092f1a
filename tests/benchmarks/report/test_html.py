"""The page is self-contained, and untrusted text remains text."""

import json
from html.parser import HTMLParser

import plotly.graph_objects
import pytest

from benchmarks.report import render_html
from benchmarks.report.figures import figures
from benchmarks.report.palette import SERIES, SURFACE
from benchmarks.report.summary import summarise
from tests.benchmarks import synthetic

CASES = [synthetic.server, synthetic.laptop, synthetic.hostile, synthetic.sparse, synthetic.empty]
EMPTY = {"meta", "link", "wbr"}


class Page(HTMLParser):
    """Tags with attributes, text by element, and whether elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        # The text of a script is one; so is the end of it.
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def text(self) -> str:
        return "".join(text for tag, text in self.texts if tag not in ("script", "style"))


@pytest.mark.parametrize("make", CASES)
def test_nothing_is_loaded_from_elsewhere(make) -> None:
    page = Page(render_html([make()]))
    assert not page.open
    for tag, attributes in page.tags:
        assert "src" not in attributes and "srcset" not in attributes
        assert attributes.get("href") in (None, "data:,")
        assert tag not in ("iframe", "object", "embed", "base", "form", "img", "a")
        assert not any(key.startswith("on") for key in attributes)
    style = "".join(text for tag, text in page.texts if tag == "style")
    assert "url(" not in style and "@import" not in style


def test_hostile_names_add_no_element_and_are_shown_as_they_are() -> None:
    hostile, honest = (
        Page(render_html([synthetic.hostile()])),
        Page(render_html([synthetic.server()])),
    )
    assert {tag for tag, _ in hostile.tags} == {tag for tag, _ in honest.tags}
    assert sum(tag == "b" and "class" not in held for tag, held in hostile.tags) == 0
    for name in synthetic.HOSTILE[:4]:
        assert name in hostile.text()
    executable = [held for tag, held in hostile.tags if tag == "script" and not held]
    assert len(executable) == 2


def test_only_the_two_scripts_of_the_page_may_run() -> None:
    page = Page(render_html([synthetic.server()]))
    policy = next(held["content"] for _, held in page.tags if "http-equiv" in held)
    assert policy and "default-src 'none'" in policy and policy.count("'sha256-") == 2
    scripts = policy.split("script-src")[1]
    assert "unsafe" not in scripts


@pytest.mark.parametrize("make", CASES)
def test_every_figure_is_valid_in_plotly(make) -> None:
    view = summarise([make()])[0].views[0]
    for figure in figures(view):
        plotly.graph_objects.Figure(figure.spec)
        json.dumps(figure.spec, allow_nan=False)


def test_plots_contain_the_measured_values() -> None:
    view = summarise([synthetic.server()])[0].views[0]
    titles = [figure.title for figure in figures(view)]
    assert titles == [
        "Latency on onnxruntime:cpu",
        "Latency on openvino:cpu",
        "Latency on openvino:cpu, batch 8",
        "Compared with the first candidate",
        "Accuracy against latency",
        "Accuracy against file size",
        "Drift over the run",
        "Sustained load",
        "Operators of candidate 2",
    ]
    assert not list(figures(summarise([synthetic.empty()])[0].views[0]))


def test_slow_calls_that_are_not_drawn_are_counted() -> None:
    calls = (10_000_000,) * 300 + (90_000_000,)
    item = synthetic.measurement("a")
    item = synthetic.replace(item, rounds=(synthetic.Round(0.0, 3.0, calls),))
    figure = next(iter(figures(summarise([synthetic.run([item])])[0].views[0])))
    assert "1 call of " in figure.caption[1] and "90.0 ms" in str(figure.caption)


def test_candidates_of_very_different_speed_share_a_logarithmic_axis() -> None:
    run = synthetic.run(
        [synthetic.measurement("a", milliseconds=1), synthetic.measurement("b", milliseconds=100)]
    )
    first, second, *_ = figures(summarise([run])[0].views[0])
    assert first.spec["layout"]["xaxis"]["type"] == "log"
    assert second.spec["layout"]["xaxis"]["type"] == "log"


def test_plots_treat_labels_as_text() -> None:
    view = summarise([synthetic.hostile()])[0].views[0]
    text = json.dumps([figure.spec for figure in figures(view)])
    for part in ("<script", "<b>", "<img", "$x$"):
        assert part not in text
    assert set(text.split("<")[1:]) == set(
        filter(lambda rest: rest[:3] == "br>", text.split("<")[1:])
    )


def test_reasons_warnings_and_errors_are_readable_without_scripts() -> None:
    text = Page(render_html([synthetic.server(), synthetic.laptop()])).text()
    for part in (
        "is fastest",
        "480 samples of 12 rounds are too few",
        "was not steady",
        "needs macOS",
        "AMD EPYC 7B12",
        "Apple M2",
        "was interrupted",
        "float32 1x3x224x224",
    ):
        assert part in text


def test_missing_runs_and_candidates_are_reported() -> None:
    assert "No run was given." in render_html([])
    assert "The run has no candidates." in render_html([synthetic.empty()])


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_stand_out_from_the_page(theme: str) -> None:
    ground = luminance(getattr(SURFACE, theme))
    for colour in SERIES:
        low, high = sorted((luminance(getattr(colour, theme)), ground))
        assert (high + 0.05) / (low + 0.05) >= 3, colour
