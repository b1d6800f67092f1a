"""What a report says, and that a hostile name stays a name."""

import re
import shutil
from dataclasses import replace

import pytest

from benchmarks.record import RECORD_VERSION, Limits, Run
from benchmarks.report import render_html, render_markdown
from tests.benchmarks.synthetic import LAPTOP, SERVER, measurement, operators

HOSTILE = "<script>alert(1)</script> | <b>x</b>.onnx"
BROWSER = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)


def run(*measurements, machine=SERVER, **more) -> Run:
    return Run(
        RECORD_VERSION, "0", "2026-01-01T00:00:00+00:00", 10.0, machine, measurements, **more
    )


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Two devices, a failure, a profile, a sustained run and known accuracies."""
    fast = measurement("fast.onnx", milliseconds=5.0, accuracy=0.81)
    slow = measurement("slow.onnx", milliseconds=10.0, accuracy=0.83, operators=operators())
    broken = measurement(HOSTILE, error="its process was ended by SIGKILL | <i>")
    broken = replace(broken, rounds=())
    return [
        run(slow, fast, broken, limits=Limits(2, (1e11,) * 12, (1e10,) * 12), noise=1.02),
        run(measurement("phone.mlpackage", "coreml:ane", 3.0), machine=LAPTOP),
    ]


def test_markdown_says_who_is_fastest_and_what_failed(runs):
    text = render_markdown(runs)
    assert "fast.onnx" in text and "phone.mlpackage" in text
    assert "AMD EPYC 7B12" in text and "Apple M2" in text
    assert re.search(r"0\.[45]\d*", text)  # the ratio of 5 to 10 ms
    assert "SIGKILL" in text


def test_tables_keep_their_columns_whatever_the_names(runs):
    tables = re.findall(r"(?:^\|.*\n)+", render_markdown(runs), re.MULTILINE)
    assert tables
    for table in tables:
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_name_is_never_markup(runs, render):
    text = re.sub(r"`[^`]*`", "", render(runs))  # code in Markdown is shown as it is
    assert "<script>alert" not in text and "<b>x</b>" not in text and "<i>" not in text


def test_the_page_asks_nobody_for_anything(runs):
    page = render_html(runs)
    assert not re.search(
        r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["']?(?:https?:)?//""", page
    )
    assert "@import" not in page


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_run_that_measured_nothing_is_shown_as_that(render):
    nothing = replace(measurement("a.onnx", error="it fell over"), rounds=())
    assert "it fell over" in render([run(nothing)])


@pytest.mark.skipif(
    BROWSER is None, reason="no browser: install Debian's chromium to open the page"
)
def test_the_page_in_a_browser(runs, tmp_path):
    from playwright.sync_api import sync_playwright

    page_file = tmp_path / "report.html"
    page_file.write_text(render_html(runs), encoding="utf-8")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which(BROWSER), args=[*quiet, "--disable-sync"]
        )
        for width, scheme in ((1280, "light"), (390, "dark")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            errors, requests = [], []
            page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            page.on(
                "console",
                lambda said, errors=errors: (
                    errors.append(said.text) if said.type == "error" else None
                ),
            )
            page.on("request", lambda request, requests=requests: requests.append(request.url))
            page.goto(page_file.as_uri())
            page.wait_for_selector("svg.main-svg")
            plots = page.locator(".js-plotly-plot")
            assert plots.count() >= 4
            for index in range(plots.count()):
                drawn = plots.nth(index).locator("path, circle, rect.bar")
                assert drawn.count() > 2
            assert errors == []
            assert [
                url for url in requests if not url.startswith(("file:", "data:", "blob:"))
            ] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
