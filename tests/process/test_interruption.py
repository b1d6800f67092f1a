"""Ctrl-C and SIGTERM, as real signals to real processes: 130 or 143, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.result import read
from tests.support import GOLDEN

NANO = GOLDEN / "slide_swin_nano.pth"
ROOT = Path(__file__).parents[2]
MARK = "SLIDE_DEPLOY_TEST_MARK"
SCRIPTED = "tests.benchmarks.scripted:scripted"
# Many of them, so that a signal finds a measurement going on.
SHORT_ROUNDS = ("--rounds", 500, "--seconds", 0.2)

# Converters as they are: one that makes an error of a Ctrl-C, one that drops it, one that ends.
CONVERTER = """
import os, signal, time
from exporters import {format}_exporter as exporter
from slide_deploy.cli import main
def write(request, path):
    path.write_text("half a file")
    try:
        os.kill(os.getpid(), signal.{signal})
        time.sleep(20)
    except BaseException:
        {then}
exporter.write = write
main()
"""


def start(*arguments: object, cwd: Path, mark: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(cwd / "cache"),
            MARK: mark,
        },
    )


@contextmanager
def at_step(
    step: str, *arguments: object, cwd: Path
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command that has just said that a step begins; no process of it may outlive the block."""
    mark = uuid.uuid4().hex
    process = start("-m", "slide_deploy", *arguments, cwd=cwd, mark=mark)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if step in line:
            break
    else:
        pytest.fail("".join(said))
    yield process, mark
    assert process.poll() is not None
    assert not alive(mark)


def alive(mark: str) -> list[str]:
    """Processes that a command has started, and that are still there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
        except OSError:  # it is gone, or somebody else's
            continue
    return found


def names(folder: Path) -> list[str]:
    """What a command leaves; libraries keep their own caches."""
    return sorted(path.name for path in folder.iterdir() if path.name != "cache")


@pytest.mark.slow
@pytest.mark.parametrize(
    "then",
    [
        "raise RuntimeError('an unknown failure')",
        pytest.param("pass", marks=pytest.mark.slow),
        pytest.param("exit(3)", marks=pytest.mark.full),
    ],
)
def test_a_converter_cannot_hide_ctrl_c(tmp_path: Path, then: str) -> None:
    code = CONVERTER.format(format="onnx", signal="SIGINT", then=then)
    process = start("-c", code, "export", NANO, "--to", "onnx", "--out", "new/out", cwd=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "slide-deploy: interrupted."
    assert "could not be written" not in err
    assert "Traceback" not in err
    assert names(tmp_path) == []


@pytest.mark.slow
def test_a_converter_cannot_hide_ctrl_c_from_tune(tmp_path: Path) -> None:
    """There, a converter that fails drops one candidate: the next one would be written."""
    code = CONVERTER.format(format="onnx", signal="SIGINT", then="raise RuntimeError")
    tune = ("tune", "--attention", "32x8x8", "--target", "onnxruntime:cpu", "--out", "table.json")
    process = start("-c", code, *tune, cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "slide-deploy: interrupted."
    assert err.count("write ") == 1
    assert names(tmp_path) == []


@pytest.mark.slow
def test_sigterm_ends_a_converter_as_well(tmp_path: Path) -> None:
    code = CONVERTER.format(format="onnx", signal="SIGTERM", then="raise RuntimeError")
    process = start("-c", code, "export", NANO, "--to", "onnx", "--out", "out", cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143, err
    assert err.splitlines()[-1] == "slide-deploy: terminated."
    assert names(tmp_path) == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("step", "formats"),
    [
        pytest.param("load", "onnx", marks=pytest.mark.full),
        pytest.param("reference", "onnx", marks=pytest.mark.full),
        pytest.param("write onnx", "onnx", marks=pytest.mark.full),
        ("write openvino", "onnx,openvino"),  # one file is finished by then
        # Core ML is left to do.
        pytest.param("verify openvino", "openvino,coreml", marks=pytest.mark.full),
        ("write coreml", "coreml"),
    ],
)
def test_ctrl_c_in_any_step_of_an_export(tmp_path: Path, step: str, formats: str) -> None:
    export = ("export", NANO, "--to", formats, "--out", "new/out")
    with at_step(step, *export, cwd=tmp_path) as (process, _):
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "slide-deploy: interrupted."
    assert "Traceback" not in err
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "delay", [0.3, *(pytest.param(each, marks=pytest.mark.full) for each in (0.1, 0.6, 1.0))]
)
def test_ctrl_c_while_libraries_load(tmp_path: Path, delay: float) -> None:
    """torch aborts the process if loading it is torn."""
    process = start(
        *(
            "-c",
            "import sys; print('up', flush=True); from slide_deploy.__main__ import main; main()",
        ),
        *("export", NANO, "--to", "onnx", "--out", "out"),
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "slide-deploy: interrupted."
    assert names(tmp_path) == []


def steady(folder: Path, script: str = "noisy") -> str:
    (folder / "a.json").write_text(json.dumps({"script": script, "milliseconds": 1.0}))
    return "a.json"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.full)],
)
def test_bench_keeps_what_was_measured_and_ends_its_workers(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    file = steady(tmp_path)
    bench = ("bench", file, file, "--target", SCRIPTED, *SHORT_ROUNDS, "--json", "run.json")
    with at_step("round 8 ", *bench, "--fail-above", "5%", cwd=tmp_path) as (process, mark):
        assert len(alive(mark)) >= 3  # it and its workers, so that none is a finding
        process.send_signal(number)
        _, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    word = "interrupted" if code == 130 else "terminated"
    assert err.splitlines()[-1] == f"slide-deploy: {word}."
    run = read(tmp_path / "run.json")
    assert run.interrupted
    assert len(run.measurements[0].rounds) >= 7
    assert names(tmp_path) == ["a.json", "run.json"]


@pytest.mark.slow
def test_a_bench_without_measurements_keeps_the_older_result(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("an older result")
    bench = ("bench", steady(tmp_path, "hangs"), "--target", SCRIPTED, "--json", "run.json")
    with at_step("load, verify and warm up", *bench, cwd=tmp_path) as (process, _):
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert err == "slide-deploy: interrupted.\n"
    assert (tmp_path / "run.json").read_text() == "an older result"


@pytest.mark.full
def test_ctrl_c_while_calibrating_does_not_go_on_to_the_race(tmp_path: Path) -> None:
    bench = ("bench", steady(tmp_path), "--target", SCRIPTED, *SHORT_ROUNDS, "--calibrate")
    with at_step("calibrate: round 9 ", *bench, cwd=tmp_path) as (process, _):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert not (tmp_path / "cache" / "slide-deploy" / "noise.json").exists()


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As nohup asks for it."""
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from slide_deploy.process import interruption\n"
        "interruption.run(lambda: os.kill(os.getpid(), signal.SIGHUP))"
    )
    process = start("-c", code, cwd=tmp_path)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["slow:build", pytest.param("slow.py:build", marks=pytest.mark.slow)]
)
def test_a_user_module_that_runs_long_at_import_is_interrupted(place: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    started = time.monotonic()
    arguments = ("fold", "--model", place, "--input", "1x4", "-o", "folded.safetensors")
    process = start("-m", "slide_deploy", *arguments, cwd=tmp_path)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "slide-deploy: interrupted."
    assert time.monotonic() - started < 45


def test_a_signal_while_an_object_is_finalised_is_one_line() -> None:
    code = (
        "import os, signal\n"
        "from slide_deploy.process import interruption\n"
        "class Last:\n"
        "    def __init__(self, what): self.what = what\n"
        "    def __del__(self): self.what()\n"
        "def interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    for _ in range(1000): pass\n"
        "def fail(): raise ValueError('of somebody else')\n"
        "interruption.run(lambda: (Last(fail), Last(interrupt)))"
    )
    process = start("-c", code, cwd=ROOT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "ValueError: of somebody else" in err and "Interrupted" not in err
    assert err.splitlines()[-1] == "slide-deploy: interrupted."
