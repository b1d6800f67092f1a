"""SD013 on files: bytes that no constant points to, and graphs that nobody runs."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.external_data_helper import convert_model_to_external_data

from slide_deploy.graph_checks import check_file
from slide_deploy.graph_checks.readers.left_over import unread
from tests.graph_checks.small_models import Files
from tests.mutants.editing import EDITORS, copied


def found(path: Path) -> list[str]:
    return [held.message for held in check_file(path).violations if held.rule == "SD013"]


def weights_of(path: Path) -> Path:
    return next(path.rglob("weight.bin")) if path.is_dir() else path.with_suffix(".bin")


@pytest.mark.parametrize("seed", range(50))
def test_bytes_that_no_place_covers_are_unread(seed: int) -> None:
    rng = random.Random(seed)
    content = np.frombuffer(rng.randbytes(2000), np.uint8) | 1  # no zero, so no padding
    starts = [rng.randrange(1900) for _ in range(rng.randrange(12))]
    places = [(start, start + rng.randrange(100)) for start in starts]
    covered = np.zeros(2000, bool)
    for start, end in places:
        covered[start:end] = True
    gaps = list(unread("nano.bin", content, places))
    assert sum(gap.size for gap in gaps) == np.count_nonzero(~covered)
    # A gap begins where a byte is not covered and the one before it is.
    assert len(gaps) == np.count_nonzero(np.diff(np.r_[1, covered.astype(np.int8)]) == -1)


def test_zeros_up_to_the_next_multiple_of_64_are_padding() -> None:
    content = np.zeros(1000, np.uint8)
    assert list(unread("b", content, [(0, 100), (163, 1000)])) == []
    (gap,) = unread("b", content, [(0, 100), (164, 1000)])
    assert (gap.what, gap.size) == ("bytes 100 to 163 of b", 64)
    content[130] = 1
    assert len(list(unread("b", content, [(0, 100), (163, 1000)]))) == 1


def test_an_unread_file_is_left_over() -> None:
    assert list(unread("b", np.empty(0, np.uint8), [])) == []
    (gap,) = unread("b", np.ones(1, np.uint8), [])
    assert gap.size == 1


@pytest.mark.parametrize("format", ["openvino", "coreml"])
@pytest.mark.parametrize("more", [1, 63, 64, 4096])
def test_bytes_after_the_weights_are_found(
    exported: Files, tmp_path: Path, format: str, more: int
) -> None:
    path = copied(exported[format], tmp_path)
    weights = weights_of(path)
    before = weights.stat().st_size
    weights.write_bytes(weights.read_bytes() + b"\7" * more)
    (message,) = found(path)
    assert message == (
        f"The graph uses nothing of bytes {before:,} to {before + more - 1:,} of {weights.name}: "
        f"{more:,} bytes."
    )


@pytest.mark.parametrize("format", ["openvino", "coreml"])
def test_padding_after_the_weights_is_allowed(exported: Files, tmp_path: Path, format: str) -> None:
    path = copied(exported[format], tmp_path)
    weights = weights_of(path)
    weights.write_bytes(weights.read_bytes() + bytes(63))
    assert found(path) == []


def external(files: Files, folder: Path) -> Path:
    path = folder / "outside.onnx"
    model = onnx.load(files["onnx"])
    convert_model_to_external_data(model, location="outside.data", size_threshold=0)
    onnx.save(model, path)
    return path


def test_external_data_without_a_gap_pass(exported: Files, tmp_path: Path) -> None:
    assert found(external(exported, tmp_path)) == []


def test_unread_external_data_are_found(exported: Files, tmp_path: Path) -> None:
    path = external(exported, tmp_path)
    data = tmp_path / "outside.data"
    data.write_bytes(data.read_bytes() + b"\1" * 1000)
    (message,) = found(path)
    assert "of outside.data: 1,000 bytes" in message


def test_a_training_graph_is_found(exported: Files, tmp_path: Path) -> None:
    def train(model: onnx.ModelProto) -> None:
        model.training_info.add().algorithm.CopyFrom(helper.make_graph([], "step", [], []))

    (message,) = found(EDITORS["onnx"](exported["onnx"], tmp_path, train))
    assert "a training graph" in message
