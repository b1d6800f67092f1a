"""No process of Python that is started here runs what lies in the working directory."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measuring.process import Process
from benchmarks.measuring.worker import WorkerFailed
from benchmarks.precisions.files import run_command
from slide_deploy.errors import InputError
from slide_deploy.process.child_python import python_environment
from studies.sizes.exported import _MEASURED
from tests.test_architecture import ROOT

STARTED = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import base64, numpy'])"


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once a module of the working directory was run."""
    found = tmp_path / "was-run"
    for name in ("base64", "json", "numpy", "subprocess", "slide_deploy"):
        text = f"open({str(found)!r}, 'w').close()\nraise ImportError('hostile')\n"
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return found


def test_the_worker_of_a_race(marker: Path) -> None:
    process = Process(threads=1, timeout=60, environment={})
    try:
        with pytest.raises(WorkerFailed, match="nothing"):
            process.call("nothing")
    finally:
        process.stop()
    assert not marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["", pytest.param(_MEASURED, marks=pytest.mark.slow)])
def test_commands_that_are_measured(marker: Path, starter: str) -> None:
    with pytest.raises(InputError, match=r"nowhere\.pth"):
        run_command("export", "nowhere.pth", starter=starter)
    assert not marker.exists()


def test_a_grandchild_inherits_the_environment(marker: Path) -> None:
    subprocess.run([sys.executable, "-c", STARTED], env=python_environment(ROOT), check=True)
    assert not marker.exists()


def test_a_child_finds_the_same_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target of one's own lies where this process looks, which need not be in PYTHONPATH."""
    (tmp_path / "mine.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    command = [sys.executable, "-c", "import mine, slide_deploy.errors"]
    subprocess.run(command, env=python_environment(ROOT), cwd=tmp_path.parent, check=True)


@pytest.mark.parametrize("package", ["slide_deploy", "exporters", "benchmarks", "studies"])
def test_every_python_process_is_started_with_this_environment(package: str) -> None:
    starters = 0
    for path in (ROOT / package).rglob("*.py"):
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        if "executable" in names:
            starters += 1
            assert "python_environment" in names, path
    assert starters or package == "exporters"
