"""Files proved on other targets than the one that runs their format here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import slide_deploy
from slide_deploy.backends.base import Configuration, FunctionStream, Session, Stage, untimed
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import CheckFailed, InputError
from tests.support import exported, exported_path, golden_swin, small_checkpoint

NANO = golden_swin("slide_swin_nano")
OPENVINO = target_named("openvino:cpu")


def _open_wrong(path: Path, configuration: Configuration, stage: Stage) -> Session:
    right = OPENVINO.open(path, configuration, stage)

    def answers(feeds):
        return [value + 1 for value in right(feeds).values()]

    return replace(right, runtime="wrong", new_stream=lambda: FunctionStream(answers))


# A device whose answers are off by 1.
WRONG = replace(OPENVINO, name="tests.test_other_targets:WRONG", open=_open_wrong)


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    result = exported(NANO.load())
    return {format: exported_path(result, format) for format in ("onnx", "openvino")}


def test_verify_opens_the_file_on_the_target(run, files: dict[str, Path]) -> None:
    arguments = ("--against", NANO.path, "--target", "openvino:cpu", "--json", "-")
    code, out, err = run("verify", files["onnx"], *arguments)
    assert code == 0, err
    report = json.loads(out)
    assert (report["target"], report["verification"]["runtime"]) == ("openvino:cpu", "openvino")
    verdict = slide_deploy.verify(files["onnx"], NANO.path, target="openvino:cpu")
    assert (verdict.passed, verdict.verification.runtime) == (True, "openvino")
    assert slide_deploy.verify(files["onnx"], NANO.path).verification.runtime == "onnxruntime"


def test_verify_says_no_where_the_device_is_wrong(run, files: dict[str, Path]) -> None:
    arguments = ("--against", NANO.path, "--target", WRONG.name)
    code, _, err = run("verify", files["onnx"], *arguments)
    assert (code, "disagrees with" in err) == (1, True), err
    with pytest.raises(CheckFailed):
        slide_deploy.verify(files["openvino"], NANO.path, target=WRONG.name).raise_if_failed()


def test_a_wrong_file_is_wrong_on_another_target(run, files: dict[str, Path], tmp_path) -> None:
    model = onnx.load(files["onnx"])
    weight = next(each for each in model.graph.initializer if len(each.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.1, weight.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    arguments = ("--against", NANO.path, "--target", "openvino:cpu")
    assert run("verify", tmp_path / "wrong.onnx", *arguments)[0] == 1


@pytest.mark.parametrize(
    ("format", "target", "sentence"),
    [
        ("openvino", "onnxruntime:cpu", r"is no file for onnxruntime:cpu: give one that ends in"),
        ("onnx", "coreml:ane", "coreml:ane cannot be used here: needs macOS."),
        ("onnx", "onnxruntime:directml", "onnxruntime:directml cannot be used here: needs Win"),
        ("onnx", "openvino:fpga", "There is no target openvino:fpga: choose one of"),
    ],
)
def test_a_target_that_cannot_run_the_file_is_one_sentence(
    run, files: dict[str, Path], format: str, target: str, sentence: str
) -> None:
    code, _, err = run("verify", files[format], "--against", NANO.path, "--target", target)
    assert (code, sentence in err, err.count("\n")) == (2, True, 1), err
    with pytest.raises(InputError):
        slide_deploy.verify(files[format], NANO.path, target=target)


@pytest.mark.slow
def test_export_verifies_each_file_on_the_targets_that_run_it(run, tmp_path: Path) -> None:
    targets = ("--verify-on", "openvino:cpu", "--verify-on", "onnxruntime:rounded")
    code, out, err = run("export", NANO.path, "--to", "onnx,openvino", "--out", tmp_path, *targets)
    assert code == 0, err
    entries = json.loads((tmp_path / "manifest.json").read_text())["files"]
    found = {each["format"]: each for each in entries}
    # OpenVINO's own target has verified its file already; ONNX Runtime reads none of OpenVINO's.
    assert set(found["onnx"]["verified_on"]) == {"openvino:cpu", "onnxruntime:rounded"}
    assert "verified_on" not in found["openvino"]
    cases = found["onnx"]["verification"]["cases"]
    other = found["onnx"]["verified_on"]["openvino:cpu"]
    assert other["runtime"] == "openvino"
    assert [each["name"] for each in other["cases"]] == [each["name"] for each in cases]
    assert sum(line.rstrip().endswith("pass") for line in out.splitlines()) == 4


@pytest.mark.slow
def test_a_file_that_fails_on_one_target_is_removed(run, tmp_path: Path) -> None:
    small = small_checkpoint(tmp_path)
    options = ("--to", "onnx", "--out", tmp_path / "out", "--verify-on", WRONG.name)
    code, _, err = run("export", small, *options)
    assert code == 1
    assert f"disagrees with {small} on {WRONG.name} on: " in err
    assert not (tmp_path / "out" / "small.onnx").exists()
    (entry,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert (entry["passed"], list(entry["verified_on"])) == (False, [WRONG.name])


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "mil-interpreter:cpu",
            "mil-interpreter:cpu runs .mlpackage and none of the files in onnx",
        ),
        ("coreml:ane", "coreml:ane cannot be used here: needs macOS."),
        ("nothing", "There is no target nothing"),
    ],
)
def test_export_refuses_targets_before_it_writes(
    run, tmp_path: Path, target: str, sentence: str
) -> None:
    out = tmp_path / "out"
    options = ("--to", "onnx", "--out", out, "--verify-on", target)
    code, _, err = run("export", NANO.path, *options)
    assert (code, sentence in err) == (2, True), err
    assert not out.exists()
    with pytest.raises(InputError):
        slide_deploy.export(NANO.path, to="onnx", out=out, verify_on=target)


@pytest.mark.slow
def test_what_a_file_says_of_its_pixels_holds_on_every_target(tmp_path: Path) -> None:
    small = small_checkpoint(tmp_path)
    done = slide_deploy.export(
        small,
        to="onnx",
        out=tmp_path,
        embed_preprocessing=True,
        input_layout="nhwc",
        channel_order="bgr",
        softmax=True,
        verify_on=["openvino:cpu"],
    )
    (file,) = done.files
    assert done.passed
    assert file.verified_on["openvino:cpu"].runtime == "openvino"
    assert done.to_dict()["files"][0]["verified_on"]["openvino:cpu"]["cases"]
    assert slide_deploy.verify(file.paths[0], small, target="openvino:cpu").passed


def test_a_stream_keeps_no_answer_of_an_earlier_call(files: dict[str, Path]) -> None:
    """What was read stays what it was, whatever the stream runs next."""
    for format, name in (("onnx", "onnxruntime:cpu"), ("openvino", "openvino:cpu")):
        session = target_named(name).open(files[format], Configuration(), untimed)
        stream = session.new_stream()
        image = NANO.expected["image"].numpy()[:1]
        stream.bind({"image": image})
        stream.run()
        kept = stream.read()
        first = kept[0].copy()
        stream.bind({"image": np.zeros_like(image)})
        stream.run()
        np.testing.assert_array_equal(kept[0], first)
        assert np.abs(stream.read()[0] - first).max() > 1e-3
