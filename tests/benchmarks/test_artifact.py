"""Descriptions of the measured files."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import artifact as module
from benchmarks.artifact import describe_artifact
from slide_deploy.errors import InputError
from slide_deploy.files.companions import files_of
from slide_deploy.files.hashing import sha256
from slide_deploy.graph_checks import read_graph, traffic
from tests.graph_checks.small_models import Files, exported_nano


@pytest.fixture(scope="module")
def files() -> Files:
    return exported_nano()


def product(path: Path) -> Path:
    """Images of 8 numbers times 8 x 4 weights; the weights in a file of their own."""
    weights = numpy_helper.from_array(np.full((8, 4), 0.5, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (path.parent / "data").mkdir()
    onnx.save(
        model, path, save_as_external_data=True, location="data/weights.bin", size_threshold=0
    )
    return path


def test_costs_are_counted_by_hand(tmp_path: Path) -> None:
    found = describe_artifact(product(tmp_path / "p.onnx"))
    assert (found.macs, found.parameters) == (32, 32)
    assert found.traffic == 4 * (8 * 4 + 8 + 4)
    assert found.name == "p.onnx"
    assert found.accuracy is None


def test_traffic_of_an_open_size_is_unknown(tmp_path: Path) -> None:
    text = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "open",
        [text("x", TensorProto.FLOAT, ["batch", "side"])],
        [text("y", TensorProto.FLOAT, ["batch", "side"])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "open.onnx")
    assert traffic(read_graph(tmp_path / "open.onnx")) is None


def test_companions_belong_to_the_file(tmp_path: Path) -> None:
    path = product(tmp_path / "p.onnx")
    weights = tmp_path / "data" / "weights.bin"
    assert files_of(path) == {"data/weights.bin": weights, "p.onnx": path}
    before = describe_artifact(path)
    assert before.size == path.stat().st_size + weights.stat().st_size
    weights.write_bytes(bytes(weights.stat().st_size))
    assert describe_artifact(path).sha256 != before.sha256


@pytest.mark.slow
def test_every_format_is_described(files: Files) -> None:
    found = {format: describe_artifact(path) for format, path in files.items()}
    assert len({artifact.macs for artifact in found.values()}) == 1
    assert None not in {artifact.traffic for artifact in found.values()}
    assert found["onnx"].sha256 == sha256(files["onnx"])
    assert found["coreml"].sha256 == sha256(files["coreml"])
    assert list(files_of(files["openvino"])) == ["nano.bin", "nano.xml"]
    package = files_of(files["coreml"])
    assert "nano.mlpackage/Manifest.json" in package
    assert all(path.is_file() for path in package.values())


def test_two_files_hash_as_their_folder_would(files: Files, tmp_path: Path) -> None:
    for name, path in files_of(files["openvino"]).items():
        (tmp_path / name).write_bytes(path.read_bytes())
    assert describe_artifact(files["openvino"]).sha256 == sha256(tmp_path)


def test_the_accuracy_comes_from_the_manifest_of_exactly_these_files(tmp_path: Path) -> None:
    path = product(tmp_path / "p.onnx")
    digests = {name: sha256(item) for name, item in files_of(path).items()}
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"files": [{"sha256": digests, "accuracy": 0.75}]}))
    assert describe_artifact(path).accuracy == 0.75
    digests["p.onnx"] = "0" * 64
    manifest.write_text(json.dumps({"files": [{"sha256": digests, "accuracy": 0.75}]}))
    assert describe_artifact(path).accuracy is None


def test_the_calibration_data_comes_from_the_manifest(tmp_path: Path) -> None:
    path = product(tmp_path / "p.onnx")
    digests = {name: sha256(item) for name, item in files_of(path).items()}
    manifest = tmp_path / "manifest.json"
    calibration = {"source": "some/folder/noise.npz", "measured": 30, "held_back": 10}
    manifest.write_text(json.dumps({"files": [{"sha256": digests, "calibration": calibration}]}))
    assert describe_artifact(path).calibration == "30 examples of noise.npz"
    for other in ("noise", {}, {"source": 3}, None):
        manifest.write_text(json.dumps({"files": [{"sha256": digests, "calibration": other}]}))
        assert describe_artifact(path).calibration == ""


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"files": 3}', '{"files": [3]}', '{"files": [{}]}', "[" * 100_000]
)
def test_a_manifest_of_another_kind_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    (tmp_path / "manifest.json").write_text(text)
    assert describe_artifact(tmp_path / "m.onnx").accuracy is None


@pytest.mark.parametrize("share", ["0.9", True, 1.5, -1, None, float("nan")])
def test_an_accuracy_outside_0_to_1_is_ignored(tmp_path: Path, share: object) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"1")
    entry = {"sha256": {path.name: sha256(path)}, "accuracy": share}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": [entry]}))
    assert describe_artifact(path).accuracy is None


@pytest.mark.parametrize("name", ["m.onnx", "m.xml", "m.gguf", "m"])
def test_a_file_without_a_reader_is_still_described(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\0damaged")
    found = describe_artifact(path)
    assert (found.sha256, found.size) == (sha256(path), 8)
    assert (found.macs, found.parameters, found.traffic) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "companion"),
    [("m.onnx", "m.onnx.data"), ("m.onnx", "m.onnx_data"), ("m.xml", "m.bin")],
)
def test_companions_of_an_unreadable_file_are_found_by_name(
    tmp_path: Path, name: str, companion: str
) -> None:
    for each in (name, companion, "another.bin"):
        (tmp_path / each).write_bytes(b"1")
    assert set(files_of(tmp_path / name)) == {name, companion}


def test_counting_that_fails_leaves_costs_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "inspect", lambda graph: 1 // 0)
    assert describe_artifact(product(tmp_path / "p.onnx")).macs is None


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        describe_artifact(tmp_path / "m.onnx")
