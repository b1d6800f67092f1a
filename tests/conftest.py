"""Fixtures that several tests share."""

import functools
import gc
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from slide_deploy import cli
from tests.shared import share_in
from tests.support import GOLDEN, SWINS, Golden, golden_swin
from tests.torch_tables import keep_tables

torch.set_num_threads(1)
# Tracing makes objects by the hundred thousand: Python would look for garbage among all modules and
# tests hundreds of times an export, which is a fifth of its time.
gc.set_threshold(20_000, 10, 10)
keep_tables()

# Whoever starts the tests in the background has them ignore Ctrl-C, and with them every process
# that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Their libraries are in an environment of their own; see ``make devices``.
_DEVICES = re.compile(
    r"litert|executorch|coreai|aimodel|tflite|/pte/|runtime_bugs/test_converters|strided_weights"
)
# Names modules and needs no library.
_NAMES_ALL = "test_architecture"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of device formats get their marker by name; of some, all cases but one are slow.

    Many quick tests come last: what is left at the end is divided, so that no process waits.
    """
    met: set[str] = set()
    for item in items:
        if _DEVICES.search(item.nodeid) and _NAMES_ALL not in item.nodeid:
            item.add_marker(pytest.mark.devices)
        is_quick = {mark.name for mark in item.iter_markers()}.isdisjoint(("slow", "full"))
        test = item.nodeid.partition("[")[0]
        if is_quick and item.get_closest_marker("slow_but_first"):
            if test in met:
                item.add_marker(pytest.mark.slow)
            met.add(test)
    items.sort(key=lambda item: "mil_interpreter" in item.path.parts)


def pytest_collection_finish() -> None:
    """Modules and tests stay until the end: no search for garbage need pass them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _shared_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All test processes of a run share one folder."""
    base = tmp_path_factory.getbasetemp()
    share_in(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command line in this process; gives exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slide-deploy", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        return int(exit.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def short_warm_up() -> Iterator[None]:
    """Let ``bench`` wait half a second for latencies to settle, as they rarely do among tests."""
    from benchmarks.measuring import race
    from slide_deploy.api import measuring

    short = functools.partial(race.RacePlan, warm_up=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race, "RacePlan", short)
        patch.setattr(measuring, "RacePlan", short)
        yield


@pytest.fixture(params=SWINS)
def golden(request: pytest.FixtureRequest) -> Golden:
    """Each Slide-Swin with known answers in turn."""
    return golden_swin(request.param)


@pytest.fixture
def nano() -> Golden:
    """One small Slide-Swin with known answers."""
    return golden_swin("slide_swin_nano")


@pytest.fixture(scope="session")
def make_checkpoint() -> ModuleType:
    """The script that draws full-size checkpoints."""
    spec = importlib.util.spec_from_file_location("make_checkpoint", GOLDEN / "make_checkpoint.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
