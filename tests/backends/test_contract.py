"""What every target must do, whatever its runtime."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.record import Configuration
from slide_deploy.backends.base import Stream, untimed
from slide_deploy.backends.registry import TARGETS
from slide_deploy.errors import InputError, MissingExtra
from tests.backends.cases import Case, case_of
from tests.backends.files import bound
from tests.mutants.bytes_damage import replaced

NAMES = [
    pytest.param(target.name, marks=pytest.mark.full)
    if target.name == "torch:cpu-compiled"
    else target.name
    for target in TARGETS
    # A browser takes seconds for each test: tests/backends/web has theirs, tests/aimodel Core AI's.
    if not target.name.startswith(("web:", "coreai:"))
]


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, written: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return case_of(request.param, written, monkeypatch)


class Stages:
    """Notes the stages of a cold start."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.names.append(name)
        yield


def configured(case: Case, **settings) -> Configuration:
    return Configuration(**(case.settings | settings))


def test_it_is_found_with_its_version(case: Case) -> None:
    found = case.target.find()
    assert found.present
    assert case.version.split("-")[0] in found.detail


def test_a_missing_library_is_reported_with_the_install_command(
    case: Case, tmp_path, monkeypatch
) -> None:
    path = case.make_file(tmp_path, 1)
    monkeypatch.setitem(sys.modules, case.library, None)
    found = case.target.find()
    assert not found.present
    assert "pip install" in found.detail
    with pytest.raises(MissingExtra, match="pip install"):
        case.target.open(path, configured(case), untimed)


def test_it_runs_and_reports_inputs_outputs_and_facts(case: Case, tmp_path) -> None:
    stages = Stages()
    loaded = case.target.open(case.make_file(tmp_path, 1), configured(case), stages)
    stream = bound(loaded)
    for _ in range(3):
        assert stream.run() is None
        assert not getattr(case.behaviour, "pending", 0), "it returned before it was done"
    (tensor,) = loaded.inputs
    assert tensor.shape == (1, 4)
    assert tensor.dtype == "float32"
    assert {"library", "version", "device", "precision"} <= loaded.facts.keys()
    assert all(isinstance(value, str) and value for value in loaded.facts.values())
    in_order = [name for name in ("import", "read", "compile") if name in stages.names]
    assert stages.names == in_order
    assert stages.names[0] == "import"


def test_two_streams_run_in_parallel(case: Case, tmp_path) -> None:
    # These take one call at a time, and say so where more are asked for.
    single = case.target.name == "onnxruntime:directml" or case.library == "executorch"
    streams = 1 if single else 2
    configuration = configured(case, streams=streams)
    loaded = case.target.open(case.make_file(tmp_path, 1), configuration, untimed)
    first, second = bound(loaded), bound(loaded)
    assert first is not second

    def often(stream: Stream) -> None:
        for _ in range(20):
            stream.run()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(often, (first, second)))


def test_an_open_batch_has_the_size_of_the_configuration(case: Case, tmp_path) -> None:
    loaded = case.target.open(case.make_file(tmp_path, None), configured(case, batch=5), untimed)
    bound(loaded).run()
    assert loaded.inputs[0].shape == (5, 4)


def test_a_batch_other_than_the_fixed_one_is_refused(case: Case, tmp_path) -> None:
    path = case.make_file(tmp_path, 2)
    assert case.target.open(path, configured(case, batch=2), untimed).inputs[0].shape == (2, 4)
    with pytest.raises(InputError, match=r"fixed batch of 2, not 3.*--dynamic-batch"):
        case.target.open(path, configured(case, batch=3), untimed)


def test_a_missing_file_is_refused(case: Case, tmp_path) -> None:
    missing = tmp_path / f"missing{case.target.suffixes[0]}"
    with pytest.raises(InputError, match=r"missing\..* does not exist"):
        case.target.open(missing, configured(case), untimed)


def test_a_file_of_another_kind_is_refused(case: Case, tmp_path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    with pytest.raises(InputError, match=f"no file for {case.target.name}.*{_first_suffix(case)}"):
        case.target.open(path, configured(case), untimed)


def test_a_damaged_file_is_refused(case: Case, tmp_path) -> None:
    path = replaced(case.make_file(tmp_path, 1))
    with pytest.raises(InputError, match=path.name) as refused:
        case.target.open(path, configured(case), untimed)
    assert "\n" not in str(refused.value)


def test_an_unknown_option_is_refused(case: Case, tmp_path) -> None:
    path = case.make_file(tmp_path, 1)
    with pytest.raises(InputError, match=f"{case.target.name} has no option wings"):
        case.target.open(path, configured(case, options={"wings": "2"}), untimed)


def test_an_unknown_precision_is_refused(case: Case, tmp_path) -> None:
    path = case.make_file(tmp_path, 1)
    with pytest.raises(InputError, match=f"{case.target.name} takes the precision .*not float8"):
        case.target.open(path, configured(case, precision="float8"), untimed)


def test_the_default_precision_of_the_runtime_is_accepted(case: Case, tmp_path) -> None:
    configuration = configured(case, precision="default")
    bound(case.target.open(case.make_file(tmp_path, 1), configuration, untimed)).run()


def test_the_profile_names_operators_and_leaves_no_files(case: Case, tmp_path, monkeypatch) -> None:
    if case.target.profile is None:
        pytest.skip("this runtime does not tell")
    if case.behaviour is not None and case.library == "torch":
        pytest.skip("no kernels run on a stand-in")
    path = case.make_file(tmp_path, 1)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    times = case.target.profile(path, configured(case), 4)
    assert times
    assert all(time.nanoseconds >= 0 and time.name for time in times)
    assert all(time.operator.endswith(")") for time in times)
    assert [time.nanoseconds for time in times] == sorted(
        (time.nanoseconds for time in times), reverse=True
    )
    assert not list(here.iterdir())


def _first_suffix(case: Case) -> str:
    return case.target.suffixes[0].replace(".", r"\.")
