"""Runs a reader on many damaged inputs, in processes that may die, and counts what came of them."""

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A process that says nothing for so long hangs where Python cannot interrupt it.
_SILENT = 90
# More of them mean that nothing works.
_MOST_DEATHS = 50


@dataclass
class Row:
    """What came of the inputs of one reader.

    Attributes:
        reader: its name.
        counts: inputs by the first word of their outcome.
        findings: number and outcome of every input that was neither refused nor accepted.
        peak: bytes of memory that a process had at most.
        seconds: that all of it took.
    """

    reader: str
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str]] = field(default_factory=list)
    peak: int = 0
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        return sum(self.counts.values())

    def add(self, number: int, outcome: str) -> None:
        kind = outcome.partition(":")[0]
        self.counts[kind] += 1
        if kind not in ("refused", "accepted"):
            self.findings.append((number, outcome))


def run(
    reader: str,
    first: int,
    last: int,
    guided: str = "",
    python: str = sys.executable,
    found: Path | None = None,
) -> Row:
    """Try the inputs of a reader from ``first`` to before ``last``.

    Args:
        reader: its name.
        first: number of an input; a number is the same input each time, unless guided.
        last: number behind the last.
        guided: the part that is damaged along the branches that it reaches.
        python: that runs the children.
        found: folder for the inputs that were neither refused nor accepted.
    """
    row = Row(reader)
    started = time.monotonic()
    deaths = 0
    while first < last and deaths < _MOST_DEATHS:
        with tempfile.TemporaryDirectory(prefix="slide-deploy-fuzz-") as folder:
            command = [python, "-m", "tests.fuzz.child", reader, f"{folder}/input"]
            command += [str(first), str(last)]
            command += ["--guided", guided] if guided else []
            command += ["--found", str(found)] if found else []
            reached, outcome = first - 1, ""
            with tempfile.TemporaryFile() as errors:
                for number, outcome, peak in _lines(command, errors):
                    reached = number
                    if outcome:
                        row.add(number, outcome)
                        row.peak = max(row.peak, peak)
                errors.seek(0)
                said = errors.read()
            if reached < first:
                raise RuntimeError(
                    f"{reader} cannot begin:\n{said.decode(errors='replace')[-3000:]}"
                )
            if not outcome:
                deaths += 1
                row.add(reached, f"crash: the process ended: {_last_line(said)}")
            first = last if guided and outcome else reached + 1
    row.seconds = time.monotonic() - started
    return row


def _lines(command: list[str], errors: object) -> Iterator[tuple[int, str, int]]:
    """Number, outcome and peak of each input; an empty outcome where the process died of it."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,  # type: ignore[call-overload]
    )
    heard = time.monotonic()
    ended = threading.Event()

    def guard() -> None:
        while not ended.wait(1):
            if time.monotonic() - heard > _SILENT:
                process.kill()

    threading.Thread(target=guard, daemon=True).start()
    assert process.stdout is not None
    try:
        for line in process.stdout:
            heard = time.monotonic()
            number, _, rest = line.partition("\t")
            outcome, _, peak = rest.strip().rpartition("\t")
            if re.fullmatch(r"\d+", number):
                yield int(number), outcome, int(peak or 0)
    finally:
        ended.set()
        process.kill() if process.poll() is None and sys.exc_info()[0] is not None else None
        process.wait()


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return next((line for line in lines[::-1] if "ERROR" in line or "rror" in line), "")[:200]
