"""Verify files without a network, against the reference outputs of the export."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import slide_deploy
from slide_deploy.errors import InputError
from slide_deploy.files.companions import model_digest
from slide_deploy.verification.reference_outputs import making, reference_file
from slide_deploy.verification.reference_outputs.reference_file import (
    read_reference,
    reference_path,
    write_reference,
)
from tests.mutants.onnx_damage import in_graph, one_weight_larger
from tests.support import GOLDEN, golden_swin
from tests.support import exported as shared

NANO = GOLDEN / "slide_swin_nano.pth"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def exported() -> Path:
    result = shared(golden_swin("slide_swin_nano").load(), dynamic_batch=True)
    return result.manifest.parent


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "files"))


def bound_again(model: Path) -> None:
    """Reference outputs that name this file, as on a device without a manifest."""
    model.with_name("manifest.json").unlink(missing_ok=True)
    beside = read_reference(model)
    assert beside is not None
    write_reference(reference_path(model), replace(beside, model_sha256=model_digest(model)))


@pytest.mark.parametrize("name", ["slide_swin_nano.onnx", "slide_swin_nano.xml"])
def test_a_correct_file_is_verified_without_a_network(
    run: Run, folder: Path, name: str, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    code, out, _ = run("verify", folder / name, "--json", report)
    assert code == 0 and f"from {name}.reference.safetensors" in out
    content = json.loads(report.read_text())
    assert content["passed"] and content["precision"] == "float32"
    cases = [each["name"] for each in content["verification"]["cases"]]
    assert cases == ["noise", "border", "faint", "zeros", "batch of 3"]
    assert slide_deploy.verify(folder / name).passed


def test_the_manifest_records_the_hash(folder: Path) -> None:
    from slide_deploy.files.hashing import sha256

    entries = json.loads((folder / "manifest.json").read_text())["files"]
    for entry in entries:
        ((name, digest),) = entry["reference_outputs"].items()
        assert sha256(folder / name) == digest and name.endswith(".reference.safetensors")


@pytest.mark.slow
def test_reference_outputs_with_another_hash_are_refused(run: Run, folder: Path) -> None:
    model = folder / "slide_swin_nano.onnx"
    manifest = model.with_name("manifest.json")
    kept = manifest.read_bytes()
    bound_again(model)  # the same content: nothing else is written
    manifest.write_bytes(kept)
    assert run("verify", model, "--quiet")[0] == 0
    beside = read_reference(model)
    assert beside is not None
    write_reference(reference_path(model), replace(beside, cases=beside.cases[:1]))
    code, _, err = run("verify", model)
    assert code == 2 and "is not what the export wrote, as manifest.json beside it says" in err
    bench = run("bench", model, "--seconds", "0.1", "--rounds", "6")
    assert bench[0] != 0 and "is not what the export wrote" in " ".join("".join(bench[1:]).split())
    for unknown in ("{", "[]", '{"files": [{}, {"reference_outputs": {"other": "a"}}]}'):
        manifest.write_text(unknown)
        assert run("verify", model, "--quiet")[0] == 0
    manifest.unlink()
    assert run("verify", model, "--quiet")[0] == 0


def test_a_wrong_file_disagrees(run: Run, folder: Path) -> None:
    model = folder / "slide_swin_nano.onnx"
    in_graph(one_weight_larger)(model)
    code, _, err = run("verify", model)
    assert code == 2 and "is not the file that" in err
    bound_again(model)
    code, _, err = run("verify", model)
    assert code == 1 and "disagrees with its reference outputs on: noise" in err
    assert not slide_deploy.verify(model).passed


def test_impossible_comparisons_are_explained(run: Run, folder: Path) -> None:
    model = folder / "slide_swin_nano.onnx"
    for option in (["--locate"], ["--precision", "float32"], ["--calibration", str(folder)]):
        code, _, err = run("verify", model, *option)
        assert code == 2 and f"{option[0]} needs the network" in err
    with pytest.raises(InputError, match="need the network"):
        slide_deploy.verify(model, locate=True)
    reference_path(model).unlink()
    code, _, err = run("verify", model)
    assert code == 2 and "has no slide_swin_nano.onnx.reference" in err
    code, _, err = run("verify", folder / "nowhere.onnx")
    assert code == 2 and "nowhere.onnx" in err


def test_large_feature_maps_are_verified_by_samples(tmp_path: Path) -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU()).eval()
    given = torch.randn(1, 3, 97, 101)
    path = slide_deploy.export(network, given, to="onnx", out=tmp_path).paths["onnx"]
    assert reference_path(path).stat().st_size < 1_000_000
    assert slide_deploy.verify(path).passed
    graph = onnx.load(path)
    for each in graph.graph.initializer:
        if list(each.dims) == [8]:
            shifted = numpy_helper.to_array(each) + np.float32(0.01)
            each.CopyFrom(numpy_helper.from_array(shifted, each.name))
    onnx.save(graph, path)
    bound_again(path)
    assert not slide_deploy.verify(path).passed


def test_cases_that_are_too_large_are_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The export writes nothing that reading would refuse."""
    import torch
    from torch import nn

    for module in (making, reference_file):
        monkeypatch.setattr(module, "MAX_DRAWN", 2 * 3 * 16 * 16)
    given = torch.zeros(1, 3, 16, 16)
    path = slide_deploy.export(nn.Conv2d(3, 2, 3).eval(), given, to="onnx", out=tmp_path).paths
    found = read_reference(path["onnx"])
    assert found is not None and [each.name for each in found.cases] == ["noise", "border"]
