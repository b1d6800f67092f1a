"""``verify A --against B`` for two files, from the command line and from Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

import slide_deploy
from slide_deploy.errors import InputError
from tests.verification.two_files import network, node, random_weights, save


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return network(tmp_path / "reference.onnx")


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    weights = random_weights()
    weights["head"][0, 0] += 0.1
    return network(tmp_path / "wrong.onnx", weights)


@pytest.fixture
def refused(run):
    """Run on input that cannot be used: exit 2, one sentence on stderr."""

    def call(*arguments: object) -> str:
        code, out, err = run(*arguments)
        lines = [line for line in err.splitlines() if not line.startswith("…")]
        assert (code, out, len(lines)) == (2, "", 1), (code, out, err)
        assert lines[0].startswith("slide-deploy: ") and lines[0].endswith(".")
        return lines[0].removeprefix("slide-deploy: ")

    return call


@pytest.fixture
def flexible(tmp_path: Path) -> Path:
    weights = random_weights() | {"none": np.zeros((1, 1, 1, 1), np.float32)}
    shape = ("batch", 3, "height", "width")
    return network(tmp_path / "flexible.onnx", weights, image="image:0", shape=shape)


def test_the_command_prints_the_figures(run, tmp_path: Path, reference: Path) -> None:
    copy = network(tmp_path / "copy.onnx")
    code, out, err = run("verify", copy, "--against", reference, "--locate")
    assert code == 0
    assert err.splitlines() == [
        "… open copy.onnx and reference.onnx",
        "… run both on 5 inputs",
        "… compare value by value",
    ]
    assert "batch of 3" in out and "reference: " in out and "precision: float32" in out
    assert "values: all 6 agree" in out
    assert run("verify", copy, "--against", reference, "--quiet") == (0, "", "")


def test_a_difference_has_exit_code_1_and_names_case_and_output(
    run, wrong: Path, reference: Path
) -> None:
    code, out, err = run("verify", wrong, "--against", reference, "--locate")
    assert code == 1
    assert f"slide-deploy: {wrong} disagrees with {reference} on: noise at logits" in err
    assert "at map" not in err
    assert "values: the first that disagrees is logits; the last that agrees is mean" in out


def test_the_report_is_json(run, wrong: Path, reference: Path) -> None:
    code, out, _ = run("verify", wrong, "--against", reference, "--locate", "--json", "-")
    report = json.loads(out)
    assert code == 1
    assert report["passed"] is False
    assert report["precision"] == "float32"
    assert report["against"] == str(reference)
    assert report["locate"]["first_wrong"] == "logits"
    assert {case["output"] for case in report["verification"]["cases"]} == {"map", "logits"}


def test_another_target_and_another_precision(run, wrong: Path, reference: Path) -> None:
    arguments = ("--target", "openvino:cpu", "--json", "-")
    code, out, _ = run("verify", reference, "--against", reference, *arguments)
    assert code == 0
    assert json.loads(out)["verification"]["runtime"] == "openvino"
    looser = ("--precision", "mixed", "--quiet")
    assert run("verify", wrong, "--against", reference, "--quiet")[0] == 1
    assert run("verify", reference, "--against", reference, *looser) == (0, "", "")


def test_sizes_are_given_by_any_name(run, refused, flexible: Path) -> None:
    said = refused("verify", flexible, "--against", flexible)
    assert said == (
        f"{flexible} leaves size 2 of image:0 open (?x3x?x?): give --input image:0=1x3x224x224."
    )
    for sizes in ("image:0=batchx3x9x7", "1x3x9x7"):
        arguments = ("--against", flexible, "--input", sizes, "--json", "-")
        code, out, _ = run("verify", flexible, *arguments)
        assert code == 0
        batches = {case["batch"] for case in json.loads(out)["verification"]["cases"]}
        assert batches == ({1, 3} if "batch" in sizes else {1})


REFUSED = {
    ("--input", "1x4x9x7"): "takes image:0 as ?x3x?x?, not 1x4x9x7",
    ("--input", "x=1x3x9x7"): "have no input x: name one of image:0 in --input",
    ("--input", "1x3x9x7:int64"): "has a type, and the files have one",
    ("--input", "1x3x-9x7"): "is invalid at '-9'",
    ("--image-size", "64"): "is a model file, and --image-size applies to networks",
    ("--model", "net:build"): "is a model file, and --model applies to networks",
    ("--calibration", "images"): "--calibration applies to networks",
    ("--precision", "int8", "--input", "1x3x9x7"): "is verified in int8 on examples",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_does_not_apply_is_refused(
    refused, flexible: Path, arguments: tuple[str, ...]
) -> None:
    assert REFUSED[arguments] in refused("verify", flexible, "--against", flexible, *arguments)


def test_unusable_files_are_refused(refused, tmp_path: Path, reference: Path) -> None:
    missing, damaged = tmp_path / "missing.onnx", tmp_path / "damaged.onnx"
    damaged.write_bytes(reference.read_bytes()[:200])
    for bad in (missing, damaged):
        for pair in ((bad, reference), (reference, bad)):
            assert str(bad) in refused("verify", pair[0], "--against", pair[1])


def test_the_command_writes_over_no_input(refused, reference: Path) -> None:
    said = refused("verify", reference, "--against", reference, "--json", reference)
    assert "is an input of this command" in said


def in_openvino(path: Path) -> Path:
    written = path.with_suffix(".xml")
    converted = openvino.convert_model(str(path))
    openvino.save_model(converted, str(written), compress_to_fp16=False)
    return written


def test_files_of_two_formats(tmp_path: Path, wrong: Path, reference: Path) -> None:
    right = in_openvino(network(tmp_path / "copy.onnx"))
    for pair in ((right, reference), (reference, right)):
        verdict = slide_deploy.verify(*pair, locate=True)
        assert verdict.passed
        assert verdict.first_divergence is not None
        assert verdict.first_divergence.first_wrong is None
    for pair in ((in_openvino(wrong), reference), (wrong, right)):
        verdict = slide_deploy.verify(*pair, locate=True)
        assert {failure.split(" at ")[1] for failure in verdict.verification.failures} == {"logits"}
        assert verdict.first_divergence is not None
        assert verdict.first_divergence.first_wrong == "logits"


def test_the_verdict_in_python(wrong: Path, reference: Path) -> None:
    verdict = slide_deploy.verify(wrong, str(reference), locate=True)
    assert not verdict.passed
    assert verdict.network == str(reference)
    assert "values: logits is the first wrong one" in repr(verdict)
    with pytest.raises(slide_deploy.CheckFailed, match=r"wrong\.onnx disagrees with .*reference"):
        verdict.raise_if_failed()
    assert verdict.to_dict()["first_divergence"]["searched"] == "values"


def test_arrays_in_python_give_sizes_and_values(tmp_path: Path, flexible: Path) -> None:
    image = np.random.default_rng(0).standard_normal((2, 3, 6, 9))
    for given in (image, [image], torch.from_numpy(image), {"image:0": image}):
        verdict = slide_deploy.verify(flexible, flexible, given)
        assert {(case.name, case.batch) for case in verdict.verification.cases} >= {("example", 2)}
    with pytest.raises(InputError, match="give `inputs` an array for each, not 2"):
        slide_deploy.verify(flexible, flexible, [image, image])
    with pytest.raises(InputError, match="give `inputs` image:0=1x3x224x224"):
        slide_deploy.verify(flexible, flexible)
    with pytest.raises(InputError, match="`calibration` needs the network"):
        slide_deploy.verify(flexible, flexible, image, calibration=tmp_path)


def test_the_values_of_an_example_are_compared(tmp_path: Path) -> None:
    """Both files agree on the integers that are drawn, and not on those of the example."""
    ports = {"x": ("int64", ("batch", 6))}
    cast = node("Cast", "x", "f", to=1)
    constants = {"most": np.array(300, np.float32)}
    plain = save(tmp_path / "a.onnx", [cast, node("Abs", "f", "y")], ports, {"y": "float32"})
    clipped = save(
        tmp_path / "b.onnx",
        [cast, node("Min", "f most", "y")],
        ports,
        {"y": "float32"},
        **constants,
    )
    assert slide_deploy.verify(clipped, plain).passed
    assert not slide_deploy.verify(clipped, plain, np.arange(298, 304)[None]).passed


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.head = torch.nn.Linear(4, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(image).relu().mean((2, 3)))


def test_files_that_take_pixels_get_the_same_picture(tmp_path: Path) -> None:
    """Each in its own layout and channel order, as its description says."""
    image, paths = torch.randn(1, 3, 16, 16), {}
    for name, options in {
        "plain": {"embed_preprocessing": False},
        "nchw": {"embed_preprocessing": True},
        "nhwc": {"embed_preprocessing": True, "input_layout": "nhwc", "channel_order": "bgr"},
        "other": {"embed_preprocessing": True, "mean": (0.4, 0.5, 0.5)},
    }.items():
        result = slide_deploy.export(Tiny(), image, to="onnx", out=tmp_path / name, **options)
        paths[name] = result.paths["onnx"]
    for first, second in (("nchw", "nhwc"), ("nhwc", "nchw")):
        verdict = slide_deploy.verify(paths[first], paths[second])
        assert verdict.passed
        assert "white" in {case.name for case in verdict.verification.cases}
    assert not slide_deploy.verify(paths["other"], paths["nchw"]).passed
    with pytest.raises(InputError, match="give two files with the same preprocessing"):
        slide_deploy.verify(paths["plain"], paths["nchw"])


def test_torch_is_not_needed(tmp_path: Path, reference: Path) -> None:
    copy = network(tmp_path / "copy.onnx")
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['slide-deploy', 'verify', "
        f"{str(copy)!r}, '--against', {str(reference)!r}, '--locate']\n"
        "from slide_deploy.cli import main; main()"
    )
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "values: all 6 agree" in done.stdout


@pytest.mark.slow
def test_any_damage_is_refused_or_compared(run, tmp_path: Path, reference: Path) -> None:
    draw = np.random.default_rng(5)
    whole, damaged = reference.read_bytes(), tmp_path / "damaged.onnx"
    codes = set()
    for trial in range(40):
        content = bytearray(whole)
        for place in draw.integers(len(whole), size=3):
            content[place] = draw.integers(256)
        damaged.write_bytes(content)
        pair = (damaged, reference) if trial % 2 else (reference, damaged)
        code, _, err = run("verify", pair[0], "--against", pair[1], "--locate", "--quiet")
        assert "Traceback" not in err
        assert code != 2 or str(damaged) in err
        codes.add(code)
    assert codes >= {1, 2}
