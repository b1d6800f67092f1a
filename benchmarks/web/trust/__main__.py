"""``python -m benchmarks.web.trust FILE``: the page and a hand-written loop, in turns.

Each runs in a browser tab that is closed before the next one opens. Ratios are paired, so that
drift of the machine's speed cancels.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks.artifact import describe_artifact
from benchmarks.measuring.race import RacePlan
from benchmarks.web.candidates import BROWSER, elsewhere
from benchmarks.web.plan import page_plan
from benchmarks.web.serving import waiting
from slide_deploy.backends.web import assets
from slide_deploy.backends.web.browser import find_browser
from slide_deploy.backends.web.site import Site, serving
from slide_deploy.errors import InputError

_BY_HAND = Path(__file__).with_name("by_hand.html")
_MILLISECONDS = 120_000


def main(
    file: Annotated[Path, typer.Argument(help="ONNX file with float32 inputs.")],
    pairs: Annotated[int, typer.Option(min=1, help="Number of pairs.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="Measuring time of each side.")] = 3.0,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Print the page's median, the loop's, and their ratio, pair by pair."""
    try:
        ratios = list(compared(file, pairs, seconds, threads))
    except InputError as error:
        sys.exit(f"slide-deploy: {error}")
    for page, hand in ratios:
        print(f"page {page:.4f} ms, by hand {hand:.4f} ms, ratio {page / hand:.3f}")
    print(f"median ratio {median(page / hand for page, hand in ratios):.3f}")


def compared(file: Path, pairs: int, seconds: float, threads: int) -> Iterator[tuple[float, float]]:
    """Yield pairs of medians in milliseconds per call: the page's and the loop's.

    Raises:
        InputError: The file cannot be measured.
    """
    with _browser() as browser:
        for number in range(pairs):
            turns = [by_page, by_hand]
            found = {
                each: each(browser, file, seconds, threads)
                for each in (turns if number % 2 else turns[::-1])
            }
            yield found[by_page], found[by_hand]


def by_page(browser: Any, file: Path, seconds: float, threads: int) -> float:
    """Return the page's median in milliseconds."""
    candidates = elsewhere([file], BROWSER)
    artifacts = {each.name: describe_artifact(file) for each in candidates}
    plan = RacePlan(candidates, artifacts, seconds=seconds, rounds=6, warm_up=seconds)
    with waiting(page_plan(plan, threads)) as served:
        page = browser.new_page()
        page.goto(served.address)
        page.wait_for_selector("#handed:not([hidden])", timeout=_MILLISECONDS)
        page.close()
        [measured] = served.result().measurements
    if not measured.rounds:
        raise InputError(f"{file} was not measured ({measured.error}): give another file.")
    return median(measured.pooled_samples) / 1e6


def by_hand(browser: Any, file: Path, seconds: float, threads: int) -> float:
    """Return the median of the loop in milliseconds. The first half of its calls is warm-up."""
    folder = assets.require()
    resources = {f"runtime/{name}": folder / name for name in assets.WASM}
    site = Site({"by_hand.html": _BY_HAND, "model.onnx": file, **resources})
    with serving(site) as port:
        page = browser.new_page()
        query = f"model=model.onnx&threads={threads}&seconds={2 * seconds}"
        page.goto(f"http://127.0.0.1:{port}/by_hand.html?{query}")
        page.wait_for_function("document.title === 'done'", timeout=_MILLISECONDS)
        found = float(page.evaluate("median"))
        page.close()
    return found


@contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = find_browser()
    if found is None:
        raise InputError("No Chromium-based browser was found: install chromium.")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(found), args=["--no-sandbox"])
        yield browser
        browser.close()


if __name__ == "__main__":
    typer.run(main)
