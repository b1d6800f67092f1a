"""The command line: what it prints, where, and with which exit code."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slide_deploy import __version__, cli
from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts import load_checkpoint
from slide_deploy.tasks import options
from tests.support import (
    GOLDEN,
    copied,
    exported,
    exported_path,
    random_swin,
    save_folded,
    small_checkpoint,
)

NANO = str(GOLDEN / "slide_swin_nano.pth")


def nano_in(format: str) -> Path:
    """The file of NANO in a format, exported once for all tests."""
    return exported_path(exported(load_checkpoint(Path(NANO))), format)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two blocks, where only what is said and written where matters."""
    return small_checkpoint(tmp_path_factory.mktemp("small"))


def fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def test_help_is_fast_and_needs_no_torch() -> None:
    listed = (
        "import sys; sys.argv = ['slide-deploy', '--help']\nfrom slide_deploy.cli import main\n"
    )
    heavy = ["torch", "onnx", "onnxruntime", "openvino", "coremltools", "numpy"]
    check = f"try: main()\nexcept SystemExit: print([m for m in {heavy} if m in sys.modules])"
    assert fresh("-c", listed + check).stdout.splitlines()[-1] == "[]"
    # Processor time, as the wall clock tells of what else the machine does.
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        fresh("-m", "slide_deploy", "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    "command", [command.callback.__name__ for command in cli.app.registered_commands]
)
def test_every_command_has_help_with_an_example(run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"Example: slide-deploy {command}" in out


def test_version_models_and_doctor(run) -> None:
    assert run("--version") == (0, f"{__version__}\n", "")
    assert "28,348,834" in run("models")[1]
    code, out, _ = run("models", "--json", "-")
    sizes = {each["architecture"]: each for each in json.loads(out)}
    assert code == 0
    assert sizes["slide_pvt_small"] == {
        "architecture": "slide_pvt_small",
        "family": "PVT",
        "image_size": [224, 224],
        "widths": [64, 128, 320, 512],
        "depths": [3, 4, 6, 3],
        "heads": [1, 2, 5, 8],
        "parameters": 22_729_483,
        "published_parameters": "22.7M",
        "gmacs": 3.98,
        "published_gmacs": 4.0,
    }
    assert {each["family"] for each in sizes.values()} == {
        *("Slide-Swin", "PVT", "PVTv2", "CSWin", "NAT"),
    }
    code, out, _ = run("doctor", "--json", "-")
    assert code == 0
    findings = {finding["subject"]: finding for finding in json.loads(out)}
    assert findings["onnxruntime"]["ok"]
    assert findings["coreml"]["ok"] == (sys.platform == "darwin")


@pytest.mark.slow
def test_doctor_reports_another_package_with_one_of_our_names(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    code = "import sys; from slide_deploy.cli import main; sys.argv = ['x', 'doctor']; main()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert "package benchmarks" in out
    assert str(tmp_path / "benchmarks")[:20] in out.replace("\n", "")


def test_export_verify_and_fold(run, tmp_path: Path) -> None:
    code, out, err = run("export", NANO, "--to", "onnx", "--out", tmp_path / "out")
    assert code == 0
    assert "layers.1.blocks.0.attn" in out
    assert "pass" in out
    assert "… verify onnx" in err
    assert max(len(line) for line in out.splitlines() if "written" not in line) <= 100
    written = tmp_path / "out" / "slide_swin_nano.onnx"

    assert run("verify", written, "--against", NANO, "--quiet") == (0, "", "")
    code, out, err = run("verify", written, "--against", GOLDEN / "slide_swin_nano_ema.pth")
    assert code == 1
    assert "disagrees with" in err
    code, out, _ = run("verify", written, "--against", NANO, "--json", "-")
    assert json.loads(out)["passed"] is True

    folded = tmp_path / "folded.safetensors"
    code, out, _ = run("fold", NANO, "-o", folded, "--json", "-")
    assert json.loads(out)["status"] == "folded"
    assert run("verify", written, "--against", folded, "-q")[0] == 0
    code, out, _ = run("fold", folded, "-o", tmp_path / "again.safetensors")
    assert (code, "fold: already folded" in out) == (0, True)


@pytest.mark.full
def test_export_with_another_lowering(run, tmp_path: Path) -> None:
    call = (
        "export",
        NANO,
        "--to",
        "onnx",
        "--out",
        tmp_path,
        "--lowering",
        "flat/2",
        "--json",
        "-",
    )
    code, out, _ = run(*call)
    assert code == 0
    (file,) = json.loads(out)["files"]
    assert set(file["lowerings"].values()) == {"flat/2"}
    assert "Gemm" in file["operators"]
    assert run("check", tmp_path / "slide_swin_nano.onnx", "-q")[0] == 0


def test_the_help_of_export_names_every_form(run) -> None:
    from slide_deploy.lowerings import FORMS

    words = " ".join(run("export", "--help")[1].replace("│", " ").split())
    assert "--lowering" in words
    assert "flat/4" in words
    assert all(form in words for form in FORMS)


def test_locate_names_the_first_divergence_if_there_is_one(run, tmp_path: Path) -> None:
    written = nano_in("onnx")
    code, out, _ = run("verify", written, "--against", NANO, "--locate")
    assert code == 0
    assert "layers: all" in out
    folded = load_checkpoint(Path(NANO))
    folded.model.layers[1].blocks[0].mlp.fc2.bias[2] += 0.1
    save_folded(reparameterize(folded.model)[0], folded, tmp_path / "changed.safetensors")
    code, out, _ = run("verify", written, "--against", tmp_path / "changed.safetensors", "--locate")
    assert code == 1
    assert "first that disagrees is layers.1.blocks.0.mlp.fc2; the last" in out


@pytest.mark.parametrize("format", ["openvino", "coreml"])
def test_locate_works_in_the_other_formats(run, format: str) -> None:
    code, out, err = run("verify", nano_in(format), "--against", NANO, "--locate")
    assert (code, "layers: all" in out) == (0, True), err


def test_the_metadata_of_a_file_does_not_loosen_its_verification(run, tmp_path: Path) -> None:
    import onnx

    path = copied(nano_in("onnx"), tmp_path)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("weight"):
            values = onnx.numpy_helper.to_array(tensor)
            noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * (1 + 1e-4 * noise), tensor.name))
    for entry in model.metadata_props:
        if entry.key == "slide_deploy.precision":
            entry.value = "float16"
        if entry.key == "slide_deploy.source_sha256":
            entry.value = "0" * 64
    onnx.save(model, path)
    code, _, said = run("verify", path, "--against", NANO)
    assert code == 2
    assert "does not match the precision in its metadata" in said
    code, out, _ = run("verify", path, "--against", NANO, "--precision", "float32")
    assert code == 1
    assert "names other weights as its source" in out
    assert run("verify", path, "--against", NANO, "--precision", "float16", "-q")[0] == 0


def test_predict_names_classes(run, tmp_path: Path) -> None:
    from PIL import Image

    written = nano_in("onnx")
    Image.new("RGB", (80, 70), (200, 30, 10)).save(tmp_path / "red.png")
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\n")
    call = ("predict", written, tmp_path / "red.png")
    code, out, _ = run(*call, "--labels", tmp_path / "names.txt", "--json", "-")
    found = json.loads(out)
    assert code == 0
    assert {row["name"] for row in found} == {"ant", "bee", "cat", "dog"}
    assert sum(row["probability"] for row in found) == pytest.approx(1.0)
    shares = [row["probability"] for row in found]
    assert shares == sorted(shares, reverse=True)
    assert run(*call, "--labels", tmp_path / "none.txt")[0] == 2
    assert run("predict", written, tmp_path / "names.txt")[0] == 2


@pytest.mark.slow
def test_names_with_brackets_are_printed_unchanged(run, tmp_path: Path, small: Path) -> None:
    path = tmp_path / "m[red].safetensors"
    path.write_bytes(small.read_bytes())
    code, out, err = run("export", path, "--to", "onnx", "--out", tmp_path / "o[bold]")
    assert code == 0
    assert "load m[red].safetensors" in err
    assert "o[bold]/m[red].onnx" in out


def test_json_of_export_is_the_manifest(run, tmp_path: Path, small: Path) -> None:
    code, out, err = run("export", small, "--to", "onnx", "--out", tmp_path, "--json", "-")
    assert (code, err) == (0, "")
    assert out == (tmp_path / "manifest.json").read_text()


@pytest.mark.slow
def test_features_from_export_to_check_and_verify(run, tmp_path: Path, small: Path) -> None:
    code, out, _ = run("export", small, "--to", "onnx", "--features", "--out", tmp_path)
    assert code == 0
    assert "top-1" not in out
    file = tmp_path / "small.onnx"
    code, out, _ = run("verify", file, "--against", small)
    assert code == 0
    assert all(f"stage{stage}" in out for stage in range(2))
    assert run("check", file)[0] == 0
    code, _, err = run("predict", file, tmp_path / "cat.jpg")
    assert code == 2
    assert "export the model without --features" in err


@pytest.mark.slow
def test_another_image_size_from_export_to_verify(run, tmp_path: Path) -> None:
    at = ("--image-size", "128x64", "--keep-windows")
    code, out, _ = run("export", NANO, "--to", "onnx", "--out", tmp_path, *at)
    assert code == 0
    assert "note: trained on 64x64 images" in out
    file = tmp_path / "slide_swin_nano.onnx"
    assert run("verify", file, "--against", NANO, *at)[0] == 0
    code, _, err = run("verify", file, "--against", NANO)
    assert code == 2
    assert "give the sizes of the export" in err


def test_a_file_that_disagrees_exits_with_1(run, tmp_path: Path, monkeypatch, small: Path) -> None:
    from exporters import pipeline

    def wrong(*arguments):
        right = references(*arguments)
        outputs = [
            {name: np.zeros_like(value) for name, value in each.items()} for each in right.outputs
        ]
        return replace(right, outputs=tuple(outputs))

    references = pipeline.trained_outputs
    monkeypatch.setattr(pipeline, "trained_outputs", wrong)
    code, _, err = run("export", small, "--to", "onnx", "--out", tmp_path, "-q")
    assert code == 1
    assert "the onnx file disagrees with" in err
    assert not (tmp_path / "small.onnx").exists()


@pytest.fixture
def refused(run, tmp_path: Path):
    """Run on input that cannot be used: exit 2, one sentence on stderr, nothing left behind."""

    def call(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), (code, out, err)
        lines = [line for line in err.splitlines() if not line.startswith("…")]
        assert len(lines) == 1, err
        assert lines[0].startswith("slide-deploy: ")
        assert lines[0].rstrip().endswith(".")
        assert "Traceback" not in err
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return call


def test_unusable_checkpoints_are_refused(refused, tmp_path: Path) -> None:
    text = tmp_path / "text.pth"
    text.write_text("hello")
    empty = tmp_path / "empty.pth"
    empty.touch()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(Path(NANO).read_bytes()[:50_000])
    other = tmp_path / "other.pth"
    torch.save(torch.nn.Linear(3, 3).state_dict(), other)
    bad = random_swin()
    bad.head.weight[0, 0] = float("nan")
    nan = tmp_path / "nan.pth"
    torch.save(bad.state_dict(), nan)
    for path in (tmp_path / "missing.pth", tmp_path, text, empty, cut, other, nan):
        said = refused("export", path, "--to", "onnx", "--out", tmp_path / "out")
        assert str(path) in said
        assert str(path) in refused("fold", path, "-o", tmp_path / "folded.safetensors")


def test_unusable_options_are_refused(refused, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "tflite is not a format" in refused("export", NANO, "--to", "tflite", "--out", out)
    assert "224 or 512x768" in refused(
        "export", NANO, "--to", "onnx", "--out", out, "--image-size", "big"
    )
    at_96 = ("export", NANO, "--to", "onnx", "--out", out, "--image-size", "96")
    assert "trained on 64x64" in refused(*at_96)
    assert "sides are multiples of 64" in refused(*at_96, "--keep-windows")
    assert "leave out --window-size" in refused(*at_96, "--keep-windows", "--window-size", "3")
    assert "no averaged" in refused(
        "export", NANO, "--to", "onnx", "--out", out, "--weights", "averaged"
    )
    for text, said in (
        ("sideways", "sideways is not a lowering: choose one of depthwise, "),
        ("flat/", "give FORM or FORM/STRIPS"),
        ("flat/-1", "give FORM or FORM/STRIPS"),
        ("flat/0", "give 1 or more"),
        ("flat/9", "attn as flat/9: A feature map of 8 rows cannot be cut into 9 strips"),
    ):
        call = ("export", NANO, "--to", "onnx", "--out", out, "--lowering", text)
        assert said in refused(*call), text
    (tmp_path / "there.safetensors").touch()
    assert "give --force" in refused("fold", NANO, "-o", tmp_path / "there.safetensors")
    assert "must end in .safetensors" in refused("fold", NANO, "-o", tmp_path / "folded.pth")
    assert "its folder is missing" in refused("fold", NANO, "-o", tmp_path / "no" / "f.safetensors")
    (tmp_path / "file").touch()
    assert "cannot be written to" in refused(
        "export", NANO, "--to", "onnx", "--out", tmp_path / "file"
    )


def test_unusable_files_are_refused(refused, tmp_path: Path) -> None:
    broken = {name: tmp_path / f"broken{name}" for name in (".onnx", ".xml", ".mlpackage")}
    for path in broken.values():
        path.write_text("not a model")
        assert str(path) in refused("verify", path, "--against", NANO)
    assert "does not exist" in refused("verify", tmp_path / "no.onnx", "--against", NANO)
    (tmp_path / "model.gguf").touch()
    assert "no known kind" in refused("verify", tmp_path / "model.gguf", "--against", NANO)


def test_a_file_of_another_image_size_is_refused(refused) -> None:
    said = refused("verify", nano_in("onnx"), "--against", GOLDEN / "slide_swin_nano_shifted.pth")
    assert "takes image as 1x3x64x64 and" in said


def test_existing_output_is_refused_without_force(refused, tmp_path: Path) -> None:
    (tmp_path / "slide_swin_nano.onnx").write_text("precious")
    assert "give --force" in refused("export", NANO, "--to", "onnx", "--out", tmp_path)


@pytest.mark.parametrize("arguments", [["models"], ["export", NANO, "--to", "onnx"]])
def test_without_torch_the_error_names_the_install_command(arguments: list[str]) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['slide-deploy', *sys.argv[1:]]; "
        "from slide_deploy import cli; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "slide-deploy: torch is not installed: run pip install 'slide-deploy[all]' and try again."
    ]


def test_a_missing_extra_is_named_with_its_install_command(
    refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import exporters.base
    from slide_deploy.backends.openvino import targets

    def without(name: str):
        return None if name in {"openvino", "torch"} else object()

    monkeypatch.setattr(exporters.base, "find_spec", without)
    monkeypatch.setattr(targets, "find_spec", without)
    said = refused("export", NANO, "--to", "openvino", "--out", tmp_path / "out")
    assert "openvino is not installed: run pip install 'slide-deploy[openvino]'" in said
    (tmp_path / "model.xml").touch()
    assert "slide-deploy[openvino]" in refused("verify", tmp_path / "model.xml", "--against", NANO)
    monkeypatch.setattr(options, "find_spec", without)
    assert "slide-deploy[all]" in refused("fold", NANO, "-o", tmp_path / "f.safetensors")
