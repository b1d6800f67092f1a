"""The same network, versions and options give the same bytes on every run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exporters.outcome import ExportOptions
from exporters.pipeline import export
from slide_deploy.backends.registry import target_named
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.formats import format_named
from slide_deploy.hosts import load_checkpoint
from tests.faults.judging import tree
from tests.support import GOLDEN

ROOT = Path(__file__).parents[2]
NANO = GOLDEN / "slide_swin_nano.pth"


def written(folder: Path, seed: int, threads: int, *options: object) -> dict[str, str]:
    """Export in a process with its own hash seed, folder, threads and time zone."""
    folder.mkdir(parents=True)
    environment = {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": str(seed),
        "OMP_NUM_THREADS": str(threads),
        "TMPDIR": str(folder),
        "TZ": f"UTC{seed % 12:+d}",
        "LANG": "C" if seed % 2 else "C.UTF-8",
    }
    done = subprocess.run(
        [sys.executable, "-m", "slide_deploy", "export", NANO, *map(str, options), "--out", "out"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return tree(folder / "out")


def pictures(path: Path) -> Path:
    """Write examples for measuring ranges."""
    np.savez(path, image=np.random.default_rng(0).standard_normal((40, 3, 64, 64), np.float32))
    return path


def require(format: str) -> None:
    """Skip formats that cannot be written or run here."""
    record = format_named(format)
    for package in record.packages:
        pytest.importorskip(package)
    if not target_named(record.targets[0]).find().present and format != "coreml":
        pytest.skip(f"{format} cannot be run here")


@pytest.mark.parametrize(
    ("format", "precision"),
    [
        pytest.param(format, precision, marks=getattr(pytest.mark, cost))
        for format, precision, cost in (
            ("onnx", "float32", "slow"),
            ("onnx", "float16", "full"),
            ("onnx", "int8", "full"),
            ("openvino", "float32", "slow"),
            ("openvino", "float16", "full"),
            ("openvino", "int8", "full"),
            ("coreml", "float32", "full"),
            ("coreml", "float16", "full"),
            ("coreml", "int8", "full"),
            ("litert", "float32", "full"),
            ("litert", "int8", "full"),
            ("executorch", "float32", "slow"),
            ("executorch", "int8", "full"),
        )
    ],
)
def test_two_exports_write_the_same_bytes(tmp_path: Path, format: str, precision: str) -> None:
    require(format)
    options: tuple[object, ...] = ("--to", format, "-q", "--precision", precision)
    if precision == "int8":
        options += ("--calibration", pictures(tmp_path / "examples.npz"))
    one = written(tmp_path / "one", 1, 1, *options)
    two = written(tmp_path / "another place" / "two", 7, 3, *options)
    assert {name for name, digest in two.items() if digest != one.get(name)} == set()
    assert one.keys() == two.keys()


@pytest.mark.slow
def test_what_a_process_exported_before_does_not_matter(tmp_path: Path) -> None:
    network = deployable_checkpoint(load_checkpoint(NANO))
    first, second = tmp_path / "first", tmp_path / "second"
    for out in (first, second):
        export(network, ExportOptions(("openvino", "onnx", "coreml"), out))
    assert tree(first) == tree(second)


@pytest.mark.slow
def test_a_manifest_has_no_date_and_no_path(tmp_path: Path) -> None:
    """Otherwise a rebuild would change the manifest, and the hashes of bundles that contain it."""
    written(tmp_path / "one", 1, 1, "--to", "onnx", "-q")
    text = (tmp_path / "one" / "out" / "manifest.json").read_text()
    assert str(tmp_path) not in text
    keys: set[str] = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            keys.update(value)
            value = list(value.values())
        if isinstance(value, list):
            for each in value:
                look(each)

    look(json.loads(text))
    assert not {key for key in keys if {"time", "date", "seconds", "path"} & set(key.split("_"))}
