"""Plots of accuracy as SVG files."""

import importlib.util
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import result
from benchmarks.record import Run
from benchmarks.report import picture
from benchmarks.report.picture import draw, main
from slide_deploy.errors import InputError
from tests.benchmarks import synthetic
from tests.benchmarks.report.test_accuracy_figure import FAMILIES, RUNTIMES, member

browser = pytest.mark.skipif(
    shutil.which("chromium") is None or importlib.util.find_spec("kaleido") is None,
    reason="needs chromium and kaleido",
)


def a_run() -> Run:
    return synthetic.run([member(*each, target) for target in RUNTIMES for each in FAMILIES])


@browser
@pytest.mark.slow
def test_each_target_has_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = tmp_path / "accuracy.json"
    result.write(a_run(), made)
    assert main([str(made), "--out", str(tmp_path)]) == 0
    names = ["accuracy_onnxruntime_cpu.svg", "accuracy_openvino_cpu.svg"]
    assert sorted(each.name for each in tmp_path.glob("*.svg")) == names
    assert capsys.readouterr().out.count("written: ") == 2
    for name, target in zip(names, RUNTIMES, strict=True):
        texts = set(ElementTree.parse(tmp_path / name).getroot().itertext())
        assert {"Slide-Swin", "PVT", "T", "L", "accuracy, as published"} <= texts
        assert f"Accuracy against latency on {target}" in texts


def test_without_accuracies_nothing_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fewer than two candidates with an accuracy"):
        draw(synthetic.run([synthetic.measurement("a")]), tmp_path)


def test_a_missing_kaleido_is_reported_in_one_sentence(tmp_path, monkeypatch, capsys) -> None:
    made = tmp_path / "accuracy.json"
    result.write(a_run(), made)
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    assert main([str(made), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "kaleido is not installed: run pip install" in error
    assert not list(tmp_path.glob("*.svg"))


@pytest.mark.skipif(importlib.util.find_spec("kaleido") is None, reason="needs kaleido")
def test_a_missing_browser_is_reported_in_one_sentence(tmp_path, monkeypatch, capsys) -> None:
    made = tmp_path / "accuracy.json"
    result.write(a_run(), made)
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    assert main([str(made), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "install Chrome or Chromium" in error
    assert not list(tmp_path.glob("*.svg"))
