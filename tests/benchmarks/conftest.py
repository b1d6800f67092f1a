import json
from dataclasses import replace

import pytest

from benchmarks.measuring import race as racing
from benchmarks.record import Candidate


@pytest.fixture
def script(tmp_path):
    """A candidate with scripted latencies."""

    def make(name: str, script: str = "constant", milliseconds: float = 2.0, **settings):
        extra = {key: settings.pop(key) for key in ("extra_work",) if key in settings}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"script": script, "milliseconds": milliseconds, **settings}))
        return replace(Candidate(name, str(path), "tests.benchmarks.scripted:scripted"), **extra)

    return make


@pytest.fixture(autouse=True)
def _no_rests(monkeypatch):
    """Scripted clocks do not disturb each other."""
    monkeypatch.setattr(racing, "REST", 0.0)
