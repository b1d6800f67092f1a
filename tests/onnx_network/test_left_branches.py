"""Convolutions that must not be merged are left, byte for byte; otherwise they merge."""

from pathlib import Path

import pytest

from tests.onnx_network.files import difference, folded, operators
from tests.onnx_network.random_pairs import SPOILERS, write

COUNT = 300
MARKS = {0: [], **dict.fromkeys((1, 2, 3), pytest.mark.slow)}


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=MARKS.get(seed, pytest.mark.full)) for seed in range(COUNT)]
)
def test_convolutions_that_must_not_be_merged(seed: int, tmp_path: Path) -> None:
    spoiler = SPOILERS[seed % len(SPOILERS)]
    path, output = tmp_path / "model.onnx", tmp_path / "folded.onnx"
    write(path, seed, spoiler, is_spoilt=True)
    result = folded(path, output)
    assert result.is_unchanged and not result.certificate.merged, spoiler
    assert output.read_bytes() == path.read_bytes()

    control = tmp_path / "control.onnx"
    shape = write(control, seed, spoiler, is_spoilt=False)
    result = folded(control, tmp_path / "merged.onnx")
    assert result.passed and len(result.certificate.merged) == 1, spoiler
    assert operators(result.path)["Conv"] == operators(control)["Conv"] - 1
    assert difference(result.path, control, shape) < 1e-5
