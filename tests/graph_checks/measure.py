"""Seconds and memory of the command line, measured from the start of its process."""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# The high-water mark of /proc starts anew with a process; that of getrusage knows its parent's.
_PROGRAM = """
import sys
from pathlib import Path
from slide_deploy.cli import main
try:
    main()
finally:
    print(Path("/proc/self/status").read_text(), file=sys.stderr)
"""


@dataclass(frozen=True)
class Measured:
    """How a command ended, and what it took."""

    status: int
    stderr: str
    seconds: float
    kilobytes: int


def command_line(*arguments: str | Path) -> Measured:
    command = [sys.executable, "-c", _PROGRAM, *map(str, arguments)]
    started = time.perf_counter()
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    seconds = time.perf_counter() - started
    peak = re.search(r"VmHWM:\s+(\d+) kB", answer.stderr)
    assert peak, answer.stderr
    return Measured(answer.returncode, answer.stderr, seconds, int(peak[1]))
