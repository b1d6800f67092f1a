"""Each row of the table of faults: nothing is lost, no manifest is wrong, nothing stays behind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.catalogue import catalogue
from tests.faults.row import Row

ROOT = Path(__file__).parents[2]


MARKS = {
    "quick": (),
    "slow": pytest.mark.slow,
    "full": pytest.mark.full,
    "hour": pytest.mark.full,
}


class Server:
    """A process that has everything loaded, and answers the name of a row with its tally."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        self.possible = self._read()

    def _read(self) -> object:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def __call__(self, name: str) -> object:
        assert self._process.stdin is not None
        print(name, file=self._process.stdin, flush=True)
        return self._read()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=row.name,
            marks=MARKS[row.cost],
        )
        for row in catalogue()
    ],
)
def test_nothing_is_lost(server: Server, row: Row) -> None:
    if row.name not in server.possible:
        pytest.skip("the system lets nobody mount a file system of their own")
    tally = server(row.name)
    assert tally["problems"] == []
    assert tally["injected"] > 0
    assert (tally["lost"], tally["wrong"], tally["leftovers"]) == (0, 0, 0)
