"""Progress over many things: lines in a log, a bar on a terminal, nothing if quiet."""

import pytest

from slide_deploy.terminal import progress
from slide_deploy.terminal.progress import Counted


def test_a_log_has_a_line_for_each_tenth_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 100_000, 60))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with Counted(False, 1000, "pictures") as done:
        for _ in range(125):
            done(8)
        print("a library says something")
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and lines.pop() == "a library says something"
    assert len(lines) == 10
    # A tenth took 60 seconds: nine are left.
    assert lines[0] == "… 104 of 1,000 pictures, 8:37 left"
    assert lines[-1] == "… 1,000 of 1,000 pictures, 0:00 left"


def test_hours_are_hours() -> None:
    assert [progress._duration(each) for each in (4.6, 61, 3723)] == ["0:05", "1:01", "1:02:03"]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Counted(True, 2, "pictures") as done:
        done(1)
        done(1)
    assert capsys.readouterr() == ("", "")


def test_nothing_to_count_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Counted(False, 0, "pictures"):
        pass
    assert capsys.readouterr() == ("", "")
