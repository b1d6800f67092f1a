"""Damaged files end in a result or in one sentence: no crash, no hang, no code, little memory."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.child import MEMORY, Trial
from tests.fuzz.readers import GRAPHS, READERS, RUNS, Reader, reader_named
from tests.fuzz.running import run
from tests.fuzz.seeds import CORPUS

OURS = [each for each in READERS if not each.runs]
# A process each takes seconds to begin, so that few are tried where it must be quick.
FEW = ("pickle", "onnx", "run onnx")
# A process each: the long tests have what strangers send, and make full has all readers.
LONG = (
    *("safetensors", "openvino", "coreml", "litert", "executorch"),
    *("manifest", "policy", "result", "fold onnx"),
)
# Others end their process for some files.
RUN = [each for each in RUNS if each.name not in ("run executorch", "run coreai")]
REGRESSIONS = sorted((CORPUS.parent / "regressions").glob("*/*"))


def tried(reader: Reader, inputs: int) -> None:
    row = run(reader.name, 0, inputs)
    assert row.findings == []
    assert row.inputs == inputs
    # A seed that is refused in any case, or a change that changes nothing, tries nothing.
    assert min(row.counts["refused"], row.counts["accepted"]) > 0
    assert row.peak < MEMORY


@pytest.mark.parametrize("name", FEW)
def test_damaged_files_are_refused_or_read(name: str) -> None:
    tried(reader_named(name), 60)


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param(
            each, id=each.name, marks=pytest.mark.slow if each.name in LONG else pytest.mark.full
        )
        for each in OURS
        if each.name not in FEW
    ],
)
def test_damaged_files_of_every_kind_are_refused_or_read(reader: Reader) -> None:
    tried(reader, 60)


@pytest.mark.parametrize(
    "reader",
    [
        pytest.param(
            each,
            id=each.name,
            marks=pytest.mark.full if each.name == "run openvino" else pytest.mark.slow,
        )
        for each in RUN
        if each.name not in FEW
    ],
)
def test_damaged_files_are_refused_or_run(reader: Reader) -> None:
    if reader.needs and find_spec(reader.needs) is None:
        pytest.skip(f"{reader.needs} is not installed")
    tried(reader, 60)


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_a_reader_once_tripped_over_is_refused_or_read(path: Path, tmp_path: Path) -> None:
    """Each was neither, once."""
    reader = reader_named(path.parent.name)
    folder = tmp_path / "input"
    folder.mkdir()
    reader.seed(folder)
    part = reader.parts_of(folder)[0]
    part.write_bytes(path.read_bytes())
    from slide_deploy.errors import InputError

    with pytest.raises(InputError):
        reader.read(reader.named(folder, part))


def test_the_watch_sees_code_that_runs(tmp_path: Path) -> None:
    """What finds nothing must be able to find something."""
    from tests.fuzz.child import Watch

    watch = Watch(runs=False)
    with watch.looking():
        exec("1 + 1")
        (tmp_path / "written").touch()
    assert any(each.startswith("exec") for each in watch.seen)
    assert any(each.startswith("open for writing") for each in watch.seen)


def test_every_format_has_a_reader() -> None:
    from slide_deploy.formats import format_names

    assert [each.name for each in GRAPHS] == list(format_names())


def test_a_number_is_the_same_input_each_time(tmp_path: Path) -> None:
    reader = reader_named("labels")
    tmp_path.joinpath("a").mkdir()
    reader.seed(tmp_path / "a")
    import random

    content = (tmp_path / "a/seed.txt").read_bytes()
    twice = [reader.damage(random.Random("labels 7"), content) for _ in range(2)]
    assert twice[0] == twice[1] != content
    assert Trial is not None
