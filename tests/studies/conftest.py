import pytest

from benchmarks.measuring import race as racing


@pytest.fixture(autouse=True)
def _no_rests(monkeypatch):
    """Networks of some kilobytes do not heat the machine."""
    monkeypatch.setattr(racing, "REST", 0.0)
