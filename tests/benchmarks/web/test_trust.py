"""The page agrees with a hand-written loop."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.measuring.worker import Worker
from benchmarks.record import Candidate, Memory
from benchmarks.web.trust.__main__ import compared
from slide_deploy.backends.web.browser import missing
from tests.browser import require_assets


@pytest.fixture(autouse=True)
def _needs_a_browser() -> None:
    require_assets()
    reason = missing()
    if reason:
        pytest.skip(reason)


@pytest.mark.full
def test_the_page_and_a_hand_written_loop_agree(nano: Path) -> None:
    """The factor allows for a busy machine. docs/web.md has the figures of a quiet one."""
    # In a new thread, as playwright has one driver per thread, and other tests keep theirs.
    with ThreadPoolExecutor(1) as pool:
        [(page, hand)] = pool.submit(compared, nano, pairs=1, seconds=1.0, threads=1).result()
    assert 0.5 < page / hand < 2


@pytest.mark.slow
def test_a_driven_browser_is_timed_and_verified_like_any_target(nano: Path) -> None:
    worker = Worker()
    started = worker.load(Candidate("nano", str(nano), "web:wasm"))
    assert started["runtime"]["library"] == "onnxruntime-web"
    proof = worker.prove(None)[0]
    assert proof is not None and proof.cases == 2
    worker.warm_up(0.01)
    sampled = worker.round(0.01)
    assert len(sampled.samples) >= 3 and all(each > 10_000 for each in sampled.samples)
    assert worker.memory() == Memory(None, None, None), "the browser's memory is not this process's"
