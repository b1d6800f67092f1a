"""Commands on a network that is an ``.onnx`` file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from slide_deploy.backends import open_file
from tests.written_elsewhere import Plain, branched, with_data, write

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file with nothing to fold, whose batch, height and width are open."""
    axes = {"image": {0: "batch", 2: "height", 3: "width"}}
    return write(Plain(), tmp_path / "plain.onnx", dynamic_axes=axes)


def kernels(path: Path) -> list[list[int]]:
    return [list(each.dims) for each in onnx.load(path).graph.initializer]


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.slow_but_first
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_a_file_is_folded_and_agrees_with_the_input_file(
    run: Run, tmp_path: Path, dynamo: bool
) -> None:
    source, folded = branched(dynamo=dynamo), tmp_path / "folded.onnx"
    code, out, err = run("fold", source, "-o", folded)
    assert code == 0, err
    assert "attn" in out and "2 convolutions" in out and f"written: {folded}" in out
    stem = [8, 3, 4, 4]
    assert [kernels(path).count(stem) for path in (source, folded)] == [2, 1]
    before, after = (open_file(path) for path in (source, folded))
    assert [each.name for each in after.inputs] == ["image"] and list(after.outputs) == ["answer"]
    image = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    assert np.allclose(before({"image": image})["answer"], after({"image": image})["answer"])
    code, out, err = run("verify", folded, "--against", source, "--quiet")
    assert code == 0 and out == "", err


def test_the_certificate_says_what_was_folded_and_what_was_verified(
    run: Run, tmp_path: Path
) -> None:
    source = branched(open_batch=True)
    code, out, _ = run("fold", source, "-o", tmp_path / "folded.xml", "--json", "-")
    found = json.loads(out.rpartition("written:")[0])
    assert code == 0 and (tmp_path / "folded.bin").exists()
    assert found["status"] == "1 folded, 1 merged"
    assert found["passed"] and not found["is_unchanged"]
    (layer,) = found["certificate"]["folded"]
    assert layer["name"] == "attn" and layer["error"] < 1e-12
    (merged,) = found["certificate"]["merged"]
    assert {part.split()[0] for part in merged["parts"]} == {"stem", "side"}
    assert found["verification"]["runtime"] == "openvino"
    assert {case["batch"] for case in found["verification"]["cases"]} == {1, 3}
    assert list(found["lowerings"].values()) and len(found["remarks"]) == len(set(found["remarks"]))


@pytest.mark.slow
def test_the_form_of_the_attention_can_be_chosen(run: Run, tmp_path: Path) -> None:
    for form in ("flat", "running-mean"):
        path = tmp_path / f"{form}.onnx"
        code, out, err = run("fold", branched(), "-o", path, "--lowering", form)
        assert code == 0 and f"1 slide attention {form}" in out, err
    first, second = (operators(tmp_path / f"{form}.onnx") for form in ("flat", "running-mean"))
    assert sorted(first) != sorted(second)


@pytest.mark.slow
def test_quiet_prints_one_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "folded.onnx"
    assert run("fold", branched(), "-o", path, "--quiet") == (0, f"written: {path}\n", "")


def test_a_file_without_anything_to_fold_is_copied_byte_for_byte(
    run: Run, tmp_path: Path, plain: Path
) -> None:
    sizes = "image=batchx3xheight:16xwidth:16"
    code, out, err = run("fold", plain, "-o", tmp_path / "same.onnx", "--input", sizes)
    assert code == 0 and "a copy of plain.onnx: nothing in it can be folded" in out, err
    assert (tmp_path / "same.onnx").read_bytes() == plain.read_bytes()


@pytest.mark.slow
def test_external_data_is_copied_under_its_own_name(run: Run, tmp_path: Path) -> None:
    source = with_data(write(Plain(), tmp_path / "plain.onnx"), tmp_path / "in")
    out = tmp_path / "out"
    out.mkdir()
    code, printed, err = run("fold", source, "-o", out / "same.onnx", "--json", out / "c.json")
    assert code == 0 and json.loads((out / "c.json").read_text())["is_unchanged"], printed + err
    assert (out / "same.onnx").read_bytes() == source.read_bytes()
    assert (out / "weights.bin").read_bytes() == (source.parent / "weights.bin").read_bytes()
    # Beside the input file, the copy shares its data.
    assert run("fold", source, "-o", source.with_name("same.onnx"), "--quiet")[0] == 0
    open_file(source.with_name("same.onnx"))
    # Other data of that name is kept.
    (out / "weights.bin").write_bytes(b"other")
    code, _, err = run("fold", source, "-o", out / "again.onnx")
    assert code == 2 and "weights.bin exists: give --force to replace it" in err
    assert (out / "weights.bin").read_bytes() == b"other" and not (out / "again.onnx").exists()


def test_data_in_a_folder_replaces_no_folder(run: Run, tmp_path: Path) -> None:
    plain = write(Plain(), tmp_path / "plain.onnx")
    source = with_data(plain, tmp_path / "in", "data/weights.bin")
    (tmp_path / "out" / "data").mkdir(parents=True)
    (tmp_path / "out" / "data" / "kept").touch()
    code, _, err = run("fold", source, "-o", tmp_path / "out" / "same.onnx", "--force")
    assert code == 2 and "has data in a folder of that name" in err
    assert (tmp_path / "out" / "data" / "kept").exists()


@pytest.mark.slow
def test_the_input_file_and_its_data_are_never_replaced(run: Run, tmp_path: Path) -> None:
    source = with_data(branched(), tmp_path, "model.bin")
    kept, data = source.read_bytes(), (tmp_path / "model.bin").read_bytes()
    for arguments in (
        ("fold", source, "-o", source, "--force"),
        ("fold", source, "-o", tmp_path / "model.xml", "--force"),
        ("export", source, "--to", "onnx", "--out", tmp_path, "--force"),
        ("export", source, "--to", "openvino", "--out", tmp_path, "--force"),
    ):
        code, _, err = run(*arguments)
        assert code == 2 and ("is an input" in err or "part of the network" in err), err
    assert source.read_bytes() == kept and (tmp_path / "model.bin").read_bytes() == data
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.bin", "model.onnx"]


@pytest.mark.slow
def test_sizes_that_a_file_leaves_open_are_given_or_asked_for(
    run: Run, tmp_path: Path, plain: Path
) -> None:
    out = tmp_path / "made.xml"
    code, _, err = run("fold", plain, "-o", out)
    assert code == 2
    assert "image open (batchx3xheightxwidth): give them as --input image=1x3x224x224" in err
    refused = {
        "picture=1x3x8x8": "has no input picture: it has image",
        "image=1x4x8x8": "is batchx3xheightxwidth: give sizes that fit",
        "image=1xchannels:3x8x8": "give sizes that fit",
        "image=1x3x8x8:float32": "has a type",
    }
    for text, sentence in refused.items():
        code, _, err = run("fold", plain, "-o", out, "--input", text)
        assert code == 2 and sentence in err, err
    assert run("fold", plain, "-o", out, "--input", "1x3x8x8", "--quiet")[0] == 0
    assert open_file(out).inputs[0].shape == (1, 3, 8, 8)
    open_out = tmp_path / "open.xml"
    sizes = "image=batchx3xheight:8xwidth:8"
    assert run("fold", plain, "-o", open_out, "--input", sizes, "--quiet")[0] == 0
    assert open_file(open_out).inputs[0].shape == (None, 3, None, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "out"], "out ends in no known suffix: give a name that ends in .onnx or .xml"),
        (["-o", "out.safetensors"], "ends in no known suffix"),
        (["-o", "out.onnx", "--to", "openvino"], "does not end in .xml"),
        (["-o", "out.onnx", "--to", "tflight"], "tflight"),
        (["-o", "out.onnx", "--lowering", "rolled"], "rolled"),
        (["-o", "out.onnx", "--image-size", "32"], "--image-size applies to checkpoints only"),
        (["-o", "out.onnx", "--weights", "raw"], "--weights applies to checkpoints only"),
        (["-o", "out.onnx", "--model", "net:build"], "is one network and --model"),
        (["-o", "out.onnx", "--weights-file", "a.pth"], "applies to a network of your own"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(branched(), "model.onnx")
    code, _, err = run("fold", "model.onnx", *arguments)
    assert code == 2 and sentence in err and "Traceback" not in err, err
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_is_no_network_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("fold", tmp_path / "missing.onnx", "-o", tmp_path / "a.onnx")
    assert code == 2 and "missing.onnx does not exist" in err
    (tmp_path / "text.onnx").write_text("no model")
    code, _, err = run("fold", tmp_path / "text.onnx", "-o", tmp_path / "a.onnx")
    assert code == 2 and "text.onnx" in err and "Traceback" not in err
    (tmp_path / "there.onnx").touch()
    code, _, err = run("fold", branched(), "-o", tmp_path / "there.onnx")
    assert code == 2 and "there.onnx exists: give --force to replace it" in err


def test_options_of_onnx_files_are_refused_for_checkpoints(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.pth").touch()
    for option, value in (("--to", "onnx"), ("--lowering", "flat")):
        code, _, err = run("fold", tmp_path / "a.pth", "-o", tmp_path / "b.onnx", option, value)
        assert code == 2 and f"{option} applies to .onnx files" in err


@pytest.mark.slow
def test_a_file_is_exported_like_a_checkpoint(run: Run, tmp_path: Path) -> None:
    source = branched(open_batch=True)
    out = tmp_path / "out"
    code, printed, err = run("export", source, "--to", "openvino,coreml", "--out", out)
    assert code == 0, err
    assert "trained model in float64" not in printed
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["source"]["file"] == "model.onnx"
    assert all(each["verification"]["cases"] for each in manifest["files"])
    assert run("verify", out / "model.xml", "--against", source, "--quiet")[0] == 0
    assert run("verify", out / "model.mlpackage", "--quiet")[0] == 0
    for option in ("--features", "--dynamic-batch"):
        code, _, err = run("export", source, "--to", "onnx", "--out", out, option)
        assert code == 2 and f"{option} applies to checkpoints only" in err


def test_a_file_is_no_trained_network_for_evaluate(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data" / "0"
    data.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(data / "a.png")
    code, _, err = run("evaluate", branched(), "--against", branched(), "--data", data.parent)
    assert code == 2 and "give it as the first file, and the others are compared with it" in err
    code, _, err = run("evaluate", branched(), branched(dynamo=True), "--data", data.parent)
    assert code == 0, err


@pytest.mark.full
def test_attentions_of_a_file_are_tuned(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    code, _, err = run(
        *("tune", branched(), "--target", "onnxruntime:cpu", "--seconds", "0.1"),
        *("--strips", "1", "--form", "flat", "--form", "depthwise", "--out", table, "--quiet"),
    )
    assert code == 0, err
    (entry,) = json.loads(table.read_text())["entries"]
    assert entry["target"] == "onnxruntime:cpu"


@pytest.mark.full
def test_a_network_that_is_read_twice_is_the_same(run: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    assert run("fold", branched(), "-o", first, "--quiet")[0] == 0
    code, out, err = run("fold", first, "-o", second)
    assert code == 0 and "nothing in it can be folded" in out, err
    assert second.read_bytes() == first.read_bytes()
