"""The page in a browser: every plot is drawn, nothing is fetched, nothing fails."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import render_html
from tests.benchmarks import synthetic

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None,
    reason=f"no browser to open the page with: none of {', '.join(NAMES)} is on PATH",
)

# Options: no sandbox, as tests may run as root; no background requests.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Of each plot: its traces, and how many shapes they became.
DRAWN = """[...document.querySelectorAll('.plot')].map(plot => ({
  title: plot.getAttribute('aria-label'),
  surfaces: plot.querySelectorAll('svg.main-svg').length,
  traces: (plot.data || []).filter(trace => trace.x.length).length,
  marks: plot.querySelectorAll('.cartesianlayer .trace path, .cartesianlayer .trace text').length,
}))"""
# Pairs of labels in one plot that cover each other.
OVERLAPS = """[...document.querySelectorAll('.plot')].flatMap(plot => {
  const labels = [...plot.querySelectorAll('.annotation')].map(label =>
    ({ text: label.textContent, box: label.getBoundingClientRect() }));
  return labels.flatMap((a, i) => labels.slice(i + 1)
    .filter(b => a.box.left < b.box.right && b.box.left < a.box.right
      && a.box.top < b.box.bottom - 2 && b.box.top < a.box.bottom - 2)
    .map(b => a.text + ' / ' + b.text));
})"""
SCROLLS = "document.documentElement.scrollWidth > window.innerWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        # It makes an empty profile for each launch and deletes it.
        launched = driver.chromium.launch(executable_path=BROWSER, args=list(ARGUMENTS))
        yield launched
        launched.close()


class Visit:
    """An open page, with its console messages and requests."""

    def __init__(self, browser: Any, file: Path, width: int, theme: str) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(
            viewport={"width": width, "height": 800}, color_scheme=theme, locale="en-GB"
        )
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append("a dialog opened"))
        self.refused: dict[str, str] = {}
        self.page.on(
            "requestfailed", lambda request: self.refused.update({request.url: request.failure})
        )
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.wait_until(
            "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))"
        )

    def wait_until(self, expression: str) -> None:
        """Poll until it is true, as a wait in the page would need ``eval``, which it forbids."""
        for _ in range(200):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"this never became true: {expression}")

    def fetched(self, file: Path) -> list[str]:
        """Requests other than the page itself."""
        return [url for url in self.asked if url != file.as_uri() and not url.startswith("data:")]


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Any]:
    visits: list[Visit] = []

    def opened(html: str, width: int = 1280, theme: str = "light") -> tuple[Visit, Path]:
        file = tmp_path / "report.html"
        file.write_text(html, encoding="utf-8")
        visits.append(Visit(browser, file, width, theme))
        return visits[-1], file

    yield opened
    for held in visits:
        held.page.close()


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (1280, "light"),
        (360, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(360, "light", marks=pytest.mark.slow),
    ],
)
def test_every_plot_is_drawn_in_place(visit: Any, width: int, theme: str) -> None:
    opened, file = visit(render_html([synthetic.server(), synthetic.laptop()]), width, theme)
    drawn = opened.page.evaluate(DRAWN)
    assert len(drawn) == 12
    for plot in drawn:
        assert plot["surfaces"] and plot["traces"] and plot["marks"], plot
    assert opened.said == [] and opened.fetched(file) == []
    assert not opened.page.evaluate(SCROLLS)
    assert opened.page.evaluate(OVERLAPS) == []


@pytest.mark.slow
def test_plots_follow_the_theme_and_the_width_of_the_reader(visit: Any) -> None:
    opened, _ = visit(render_html([synthetic.laptop()]))
    ink = "getComputedStyle(document.querySelector('.plot .annotation-text')).fill"
    ground = "getComputedStyle(document.body).backgroundColor"
    before = opened.page.evaluate(ink), opened.page.evaluate(ground)
    opened.page.emulate_media(color_scheme="dark")
    # The page is notified with the next frame. If it never is, this times out.
    opened.wait_until(f"{ink} !== '{before[0]}' && {ground} !== '{before[1]}'")
    opened.page.set_viewport_size({"width": 360, "height": 800})
    opened.wait_until("document.querySelector('.plot .main-svg').clientWidth < 360")
    assert not opened.page.evaluate(SCROLLS)


@pytest.mark.slow_but_first
@pytest.mark.parametrize("width", [1280, 360])
def test_hostile_names_remain_text(visit: Any, width: int) -> None:
    opened, file = visit(render_html([synthetic.hostile()]), width)
    assert opened.page.title() == "Benchmark on Unknown machine"
    assert opened.said == [] and opened.fetched(file) == []
    assert not opened.page.evaluate(SCROLLS)
    labels = opened.page.evaluate(
        "[...document.querySelectorAll('.annotation-text')].map(label => label.textContent)"
    )
    if width == 1280:
        assert "<b>bold</b> &lt;i&gt; $x$ %{x} {{ 7*7 }}" in labels


@pytest.mark.slow
def test_an_injected_script_would_not_run(visit: Any) -> None:
    slipped = (
        '<script>document.title = "owned"</script><img src="https://example.invalid/x.png">'
        '<img src="missing.png" onerror="document.title = \'owned\'">'
    )
    html = render_html([synthetic.laptop()]).replace("</header>", f"</header>{slipped}")
    opened, file = visit(html)
    assert opened.page.title() == "Benchmark on Apple M2"
    # The browser reports requests of the page even if its policy forbids them.
    assert {opened.refused[url] for url in opened.fetched(file)} == {"csp"}
    assert any("Content Security Policy" in line for line in opened.said)


@pytest.mark.slow
@pytest.mark.slow_but_first
@pytest.mark.parametrize("make", [synthetic.sparse, synthetic.empty])
def test_a_run_with_hardly_any_data_still_has_a_page(visit: Any, make: Any) -> None:
    opened, file = visit(render_html([make()]), 360)
    assert opened.said == [] and opened.fetched(file) == []
    assert not opened.page.evaluate(SCROLLS)
