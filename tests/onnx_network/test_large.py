"""Files whose weights are in a second file: read, folded into such files, and compared."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from exporters import pipeline
from exporters.onnx_ends import retype_ends
from slide_deploy.files.hashing import sha256
from tests.large_onnx import lowered, outside
from tests.shared import once
from tests.written_elsewhere import Branched, Plain, branched, with_data, write

Run = Callable[..., tuple[int, str, str]]

PAIR = ["folded.onnx", "folded.onnx.data"]


@pytest.fixture(autouse=True)
def _small_limit() -> Iterator[None]:
    with lowered():
        yield


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """``in/model.onnx`` with ``in/model.onnx.data``, as PyTorch writes them."""

    def make(folder: Path) -> Path:
        return write(Branched(), folder / "model.onnx", dynamo=True, external_data=True)

    shutil.copytree(once("a large onnx file", make).parent, tmp_path / "in")
    return tmp_path / "in" / "model.onnx"


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_large_file_is_folded_into_one_that_every_command_reads(
    run: Run, tmp_path: Path, source: Path
) -> None:
    folded = tmp_path / "out" / "folded.onnx"
    folded.parent.mkdir()
    code, out, err = run("fold", source, "-o", folded)
    assert code == 0 and "folded.onnx.data holds the weights of folded.onnx" in out, out + err
    assert names(folded.parent) == PAIR and outside(folded)
    code, _, err = run("verify", folded, "--against", source, "--quiet", "--locate")
    assert code == 0, err
    code, out, err = run("check", folded)
    assert code == 0, out + err
    data = folded.with_name(PAIR[1])
    content = bytearray(data.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    data.write_bytes(content)
    assert run("verify", folded, "--against", source, "--quiet")[0] == 1
    # An export takes it in the place of a checkpoint.
    out_folder = tmp_path / "exported"
    code, _, err = run("export", source, "--to", "onnx,openvino", "--out", out_folder, "-q")
    assert code == 0, err
    manifest = json.loads((out_folder / "manifest.json").read_text())
    assert manifest["files"][0]["sha256"] == {
        name: sha256(out_folder / name) for name in ("model.onnx", "model.onnx.data")
    }


@pytest.mark.slow
def test_the_weights_of_an_older_output_go_with_it(run: Run, tmp_path: Path, source: Path) -> None:
    folded = tmp_path / "folded.onnx"
    assert run("fold", source, "-o", folded, "-q")[0] == 0
    plain = write(Plain(), tmp_path / "in" / "plain.onnx")
    folded.unlink()
    for each in (source, plain):
        code, _, err = run("fold", each, "-o", folded)
        assert code == 2 and "folded.onnx.data exists: give --force to replace or remove it" in err
    assert run("fold", plain, "-o", folded, "-q", "--force")[0] == 0  # a copy
    assert names(tmp_path) == ["folded.onnx", "in"]
    assert run("fold", source, "-o", folded, "-q", "--force")[0] == 0
    with lowered(2**31):
        assert run("fold", source, "-o", folded, "-q", "--force")[0] == 0
    assert names(tmp_path) == ["folded.onnx", "in"] and not outside(folded)


@pytest.mark.slow
def test_a_folded_file_that_disagrees_leaves_neither(
    run: Run, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = pipeline.reparameterize

    def damaged(*arguments, **options):
        folded, certificate = fold(*arguments, **options)
        weight = next(folded.parameters())
        weight.data = weight.data + 0.1  # the file is mapped, and cannot be changed in place
        return folded, certificate

    monkeypatch.setattr(pipeline, "reparameterize", damaged)
    code, _, err = run("fold", source, "-o", tmp_path / "folded.onnx")
    assert code == 1 and "disagrees" in err
    assert names(tmp_path) == ["in"]


def test_data_of_the_input_is_never_replaced(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the onnx package writes no name that the current folder has
    source = with_data(branched(), tmp_path, "folded.onnx.data")
    kept = {each.name: sha256(each) for each in tmp_path.iterdir()}
    code, _, err = run("fold", source, "-o", tmp_path / "folded.onnx", "--force")
    assert code == 2 and "folded.onnx.data is part of the network that is read" in err
    assert {each.name: sha256(each) for each in tmp_path.iterdir()} == kept


def test_ends_change_their_type_and_weights_stay_outside(source: Path) -> None:
    before = outside(source)
    data = sha256(source.with_name("model.onnx.data"))
    assert before and retype_ends(source, {"image": "float16"})
    assert outside(source) == before and sha256(source.with_name("model.onnx.data")) == data
    onnx.checker.check_model(str(source), full_check=True)
