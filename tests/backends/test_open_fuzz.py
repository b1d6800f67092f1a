"""Damaged files never take the process down that opens and runs them."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.graph_checks.small_models import Files, exported_litert, exported_smallest
from tests.graph_checks.test_fuzz import PARTS, damaged
from tests.mutants.editing import copied

# Seconds that all files of a format may take together; a file takes 0.1 of one.
LIMIT = 240


@pytest.fixture(scope="module")
def smallest() -> Files:
    return exported_smallest()


def damaged_copy(path: Path, format: str, folder: Path, seed: int) -> Path:
    folder.mkdir()
    rng = random.Random(f"run {format} {seed}")
    target = copied(path, folder)
    part = (target if target.is_dir() else folder) / rng.choice(PARTS[format])
    part.write_bytes(damaged(rng, part.suffix, part.read_bytes()))
    return target


def outcomes(files: list[Path], picture: Path) -> list[str]:
    """One a file. A process that dies is followed by another for the files that are left."""
    found: list[str] = []
    while len(found) < len(files):
        left = [str(file) for file in files[len(found) :]]
        process = subprocess.run(
            [sys.executable, "-m", "tests.backends.open_and_run", str(picture), *left],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            cwd=Path(__file__).parents[2],
        )
        lines = [line.partition(" ")[2] for line in process.stdout.splitlines()]
        if process.returncode:
            lines[-1] = f"crashed with {process.returncode}"
        found += lines
    return found


def refused_or_answered(files: list[Path], folder: Path) -> set[str]:
    """What came of the files, where nothing else did."""
    picture = folder / "picture.png"
    Image.new("RGB", (20, 20)).save(picture)
    found = outcomes(files, picture)
    assert len(found) == len(files), "a line that is no outcome: something else prints on stdout"
    wrong = {
        path.parent.name: text
        for path, text in zip(files, found, strict=True)
        if text not in ("refused", "answered")
    }
    assert not wrong
    return {*found}


@pytest.mark.parametrize(
    "seeds", [range(12), pytest.param(range(12, 100), marks=pytest.mark.full)], ids=["few", "many"]
)
@pytest.mark.parametrize("format", PARTS)
def test_a_damaged_file_is_refused_or_runs(
    smallest: Files, tmp_path: Path, format: str, seeds: range
) -> None:
    files = [damaged_copy(smallest[format], format, tmp_path / str(seed), seed) for seed in seeds]
    found = refused_or_answered(files, tmp_path)
    assert len(seeds) < 50 or found == {"refused", "answered"}


@pytest.mark.slow
def test_a_damaged_litert_file_is_refused_or_runs(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("litert_torch")
    original, files = exported_litert(), []
    for seed in range(40):
        (tmp_path / str(seed)).mkdir()
        files.append(copied(original, tmp_path / str(seed)))
        content = damaged(random.Random(f"run litert {seed}"), ".tflite", original.read_bytes())
        files[-1].write_bytes(content)
    assert refused_or_answered(files, tmp_path) == {"refused", "answered"}
