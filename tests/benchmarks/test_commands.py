"""The commands bench, compare and report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.result import read
from slide_deploy.hosts import load_checkpoint
from tests.support import GOLDEN, exported, exported_path

# Forbids imports that a device which only measures lacks.
WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "coremltools", "onnxscript", "openvino"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
"""


# The command, with a warm-up of half a second, as latencies are rarely steady among tests.
COMMAND = """
from functools import partial
from benchmarks.measuring import race
race.RacePlan = partial(race.RacePlan, warm_up=0.5)
from slide_deploy.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def nano() -> Path:
    return exported_path(exported(load_checkpoint(GOLDEN / "slide_swin_nano.pth")), "onnx")


def process(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(cwd), str(Path(__file__).parents[2])]),
            "XDG_CACHE_HOME": str(cwd / "cache"),
            **environment,
        },
    )


@pytest.fixture(scope="module")
def measured(nano: Path, tmp_path_factory) -> Path:
    """A run of a file against itself on a machine without torch, and all that it wrote."""
    out = tmp_path_factory.mktemp("bench")
    (out / "sitecustomize.py").write_text(WITHOUT_TORCH)
    answer = process(
        *("bench", nano, nano, "--target", "onnxruntime:cpu", "--seconds", 0.1, "--rounds", 6),
        *("--json", "run.json", "--html", "run.html", "--markdown", "run.md"),
        cwd=out,
    )
    (out / "sitecustomize.py").unlink()
    assert answer.returncode == 0, answer.stderr
    assert "slide_swin_nano.onnx on" in answer.stdout
    assert max(map(len, answer.stdout[: answer.stdout.index("note:")].splitlines())) <= 100
    return out


def test_a_file_is_measured_without_torch(measured: Path) -> None:
    first, second = read(measured / "run.json").measurements
    assert second.candidate.name == "slide_swin_nano.onnx on onnxruntime:cpu #2"
    assert len(first.rounds) == len(second.rounds) == 6
    assert first.artifact is not None and first.artifact.macs
    assert first.memory is not None and first.cold is not None
    assert "slide_swin_nano" in (measured / "run.md").read_text()
    assert "slide_swin_nano" in (measured / "run.html").read_text()


def test_a_run_compared_with_itself_is_not_worse(run, measured: Path) -> None:
    # However wide, its interval contains 1, so it is never worse.
    code, out, _ = run("compare", measured / "run.json", measured / "run.json", "--json", "-")
    assert code == 0
    assert {each["verdict"] for each in json.loads(out)} <= {"same", "cannot tell"}


def test_a_slower_run_is_worse_and_exits_with_1(run, measured: Path) -> None:
    content = json.loads((measured / "run.json").read_text())
    content["limits"] = None
    for each in content["measurements"]:
        for part in each["rounds"]:
            part["samples"] = [sample * 10 for sample in part["samples"]]
    (measured / "slow.json").write_text(json.dumps(content))
    content_old = json.loads((measured / "run.json").read_text())
    content_old["limits"] = None
    (measured / "old.json").write_text(json.dumps(content_old))
    files = (measured / "old.json", measured / "slow.json")
    code, out, _ = run("compare", *files, "--fail-above", "5%")
    assert code == 1
    assert "worse" in out


def test_results_of_many_runs_become_one_report(run, measured: Path) -> None:
    files = (measured / "run.json", measured / "run.json")
    code, _, err = run("report", *files, "--markdown", measured / "both.md")
    assert code == 0, err
    assert (measured / "both.md").exists()


@pytest.mark.slow
def test_a_candidate_that_fails_leaves_exit_code_1(nano: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(nano.read_bytes()[:5000])
    answer = process(
        *("bench", nano, "broken.onnx", "--target", "onnxruntime:cpu"),
        *("--seconds", 0.1, "--rounds", 6, "--json", "run.json"),
        cwd=tmp_path,
    )
    assert answer.returncode == 1
    good, bad = read(tmp_path / "run.json").measurements
    assert good.error is None and len(good.rounds) == 6
    assert bad.error and "broken.onnx" in bad.error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("bench",), "Give either files to measure or a --suite."),
        (("bench", "missing.onnx"), "missing.onnx does not exist"),
        (("bench", "x.onnx", "--fail-above", "much"), "--fail-above much is not a percentage"),
        (("bench", "x.onnx", "--json", "no/run.json"), "give a file in an existing folder"),
        (("bench", "x.onnx", "--pin", "a"), "--pin a is not a list of processors"),
        (("bench", "x.onnx", "--shape", "a"), "--shape a is not a shape"),
        (("bench", "x.onnx", "--option", "a"), "--option a has no key or no value"),
        (("compare", "a.json", "b.json"), "a.json"),
        (("report", "a.json"), "a.json"),
    ],
)
def test_unusable_input_is_refused_in_one_sentence(
    tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch, arguments, sentence
) -> None:
    (tmp_path / "x.onnx").touch()
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
