from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.files import onnx_file
from tests.benchmarks.web.references import write_reference
from tests.browser import launched, require_assets
from tests.mutants.bases import base
from tests.mutants.catalogue import CATALOGUE


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """The browser of these tests, as playwright drives one browser at a time in a thread."""
    require_assets()
    with launched() as started:
        yield started


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file of one matmul with its reference outputs, for tests that do not check its outputs."""
    folder = tmp_path / "small"
    folder.mkdir()
    path = onnx_file(folder, None)
    write_reference(path)
    return path


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """A valid file with its reference outputs."""
    path = base().copy("onnx", tmp_path / "nano")
    write_reference(path)
    return path


@pytest.fixture
def mutant(tmp_path: Path) -> Callable[[str], Path]:
    """A damaged file by the name of its damage, with the reference outputs of the valid one."""

    def make(name: str) -> Path:
        found = next(each for each in CATALOGUE if each.name == name)
        valid = base(found.open_batch)
        path = found.damage(valid, "onnx", tmp_path / name)
        write_reference(path, truth=valid.path("onnx"))
        return path

    return make
