"""Runs examples/deploy_detector.py as a user does."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
def test_the_detector_is_deployed(tmp_path: Path) -> None:
    out = tmp_path / "detector"
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "deploy_detector.py"), "--out", str(out)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "4 slide attentions folded" in done.stdout
    manifest = json.loads((out / "manifest.json").read_text())
    formats = [file["format"] for file in manifest["files"]]
    assert formats[:2] == ["onnx", "openvino"]
    assert ("coreml" in formats) is bool(find_spec("coremltools"))
    layers = [layer["name"] for layer in manifest["certificate"]["layers"]["folded"]]
    assert len(layers) == 4 and "neck.attention" in layers
    outputs = [f"{kind}_{level}" for kind in ("boxes", "scores") for level in range(3)]
    for file in manifest["files"]:
        assert file["passed"]
        assert sorted(file["outputs"]) == outputs
        assert all((out / name).exists() for name in file["sha256"])
    assert "On ONNX Runtime, the same boxes as in PyTorch" in done.stdout
