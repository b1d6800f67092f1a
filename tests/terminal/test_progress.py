"""Progress over many things: lines in a log, a bar on a terminal, nothing if quiet."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from contextlib import suppress

import pytest

from slide_deploy.terminal import progress
from slide_deploy.terminal.progress import Counted, Steps


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


def test_durations_above_an_hour_show_hours() -> None:
    assert [progress._duration(each) for each in (4.6, 61, 3723)] == ["0:05", "1:01", "1:02:03"]


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Counted(True, 2, "pictures") as done:
        done(1)
        done(1)
    assert capsys.readouterr() == ("", "")


def test_a_total_of_zero_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Counted(False, 0, "pictures"):
        pass
    assert capsys.readouterr() == ("", "")


def on_a_terminal(code: str, columns: int) -> list[str]:
    """What a program draws on a terminal of that width, frame by frame, without escape codes."""
    child, terminal = pty.fork()
    if child == 0:
        environment = {**os.environ, "TERM": "xterm"}
        environment.pop("COLUMNS", None)
        os.execve(sys.executable, [sys.executable, "-c", code], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    drawn = b""
    with suppress(OSError):  # the terminal is gone with the program
        while piece := os.read(terminal, 1 << 16):
            drawn += piece
    os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", drawn).decode()
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


# The width of a terminal is known to a program a moment after it starts.
STEPS = """
import time
time.sleep(0.3)
from slide_deploy.terminal.progress import Steps
with Steps(False, 4) as step:
    for name in ("load", "write a file whose name is far too long for any terminal " * 3, "prove"):
        step(name)
        time.sleep(0.3)
"""
COUNTED = """
import time
time.sleep(0.3)
from slide_deploy.terminal.progress import Counted
count = Counted(False, 0, "KB")
with count:
    for done in range(100, 1000, 100):
        count.reached(done, 1000)
        time.sleep(0.15)
"""


@pytest.mark.slow_but_first
@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("code", [STEPS, COUNTED], ids=["steps", "counted"])
def test_a_terminal_shows_one_line_with_the_time_left(code: str, columns: int) -> None:
    drawn = on_a_terminal(code, columns)
    assert all("━" in line and "left:" in line and len(line) <= columns for line in drawn)
    assert any(re.search(r"left: 0:00:0\d", line) for line in drawn)


def test_a_log_has_a_line_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps(False, 2) as step:
        step("load")
        step("write [onnx]")
    assert capsys.readouterr() == ("", "… load\n… write [onnx]\n")


def test_quiet_steps_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Steps(True, 1) as step:
        step("load")
    assert capsys.readouterr() == ("", "")


def test_an_unknown_total_prints_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    count = Counted(False, 0, "KB")
    with count:
        for done in range(0, 500, 100):
            count.reached(done, 0)
    assert capsys.readouterr().err == ""
