"""Opens pages in a browser and reads their results."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.artifact import describe_artifact
from benchmarks.measuring.race import RacePlan
from benchmarks.record import Candidate, Configuration
from benchmarks.web.plan import PagePlan, page_plan

DONE = "/^(Done|Stopped|This page)/.test(document.getElementById('status').textContent)"
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}


def candidate(path: Path, device: str = "wasm", batch: int = 1) -> Candidate:
    configuration = Configuration(batch=batch)
    return Candidate(
        f"{path.parent.name} on web:{device}", str(path), f"web:{device}", configuration
    )


def planned(
    candidates: Sequence[Candidate],
    threads: int | None = 1,
    seconds: float = 0.3,
    warm_up: float = 0.1,
    rounds: int = 6,
) -> PagePlan:
    artifacts = {each.name: describe_artifact(Path(each.path)) for each in candidates}
    plan = RacePlan(tuple(candidates), artifacts, seconds=seconds, rounds=rounds, warm_up=warm_up)
    return page_plan(plan, threads)


@dataclass
class Visit:
    """An open page, with its errors."""

    page: Any
    errors: list[str]

    def finish(self, timeout: float = 60_000) -> str:
        """Wait until the page has finished, and return its text."""
        self.page.wait_for_function(DONE, timeout=timeout)
        return self.text()

    def text(self) -> str:
        return str(self.page.inner_text("body"))


@contextmanager
def visiting(browser: Any, address: str, *, blocked: str = "", **settings: Any) -> Iterator[Visit]:
    """Open a page with a new profile.

    Args:
        browser: of Playwright.
        address: of the page.
        blocked: pattern of addresses; requests of the page for them fail from the first on.
        settings: of the profile.
    """
    context = browser.new_context(**settings)
    page = context.new_page()
    if blocked:
        page.route(blocked, lambda route: route.abort())
    visit = Visit(page, [])
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    try:
        page.goto(address)
        yield visit
    finally:
        context.close()
