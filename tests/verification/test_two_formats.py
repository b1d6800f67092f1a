"""Files of every format are compared with an ONNX file of the same network, both ways round."""

from pathlib import Path

import pytest
import torch

import slide_deploy
from slide_deploy.precisions import precision_named


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.inner = torch.nn.Linear(8, 8)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.conv(image).flatten(2).transpose(1, 2)
        return self.head(self.inner(tokens).sigmoid().mean(1))


def exported(model: torch.nn.Module, format: str, out: Path, precision: str = "float32") -> Path:
    image = torch.randn(1, 3, 16, 16)
    result = slide_deploy.export(model, image, to=format, out=out, precision=precision)
    result.raise_if_failed()
    return result.paths[format]


@pytest.mark.slow_but_first
@pytest.mark.parametrize("format", ["openvino", "coreml", "litert", "executorch", "coreai"])
def test_two_formats(tmp_path: Path, format: str) -> None:
    reference = exported(Tiny(), "onnx", tmp_path / "onnx")
    right = exported(Tiny(), format, tmp_path / "right")
    for pair in ((right, reference), (reference, right)):
        verdict = slide_deploy.verify(*pair, locate=True)
        assert verdict.passed, verdict
        assert verdict.verification.worst.max_relative < 1e-5
        assert verdict.first_divergence is not None
        assert verdict.first_divergence.first_wrong is None
        assert verdict.first_divergence.found >= 1

    model = Tiny()
    with torch.no_grad():
        model.head.bias[3] += 0.01
    wrong = exported(model, format, tmp_path / "wrong")
    for pair in ((wrong, reference), (reference, wrong)):
        verdict = slide_deploy.verify(*pair, locate=True)
        assert "noise" in verdict.verification.failures
        found = verdict.first_divergence
        assert found is not None and found.first_wrong is not None
        if format != "executorch":  # one delegate computes all of it
            assert found.last_right is not None


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "coreml"])
def test_the_precision_of_the_judged_file_decides(tmp_path: Path, format: str) -> None:
    exact = exported(Tiny(), "onnx", tmp_path / "exact")
    half = exported(Tiny(), format, tmp_path / "half", "float16")
    verdict = slide_deploy.verify(half, exact)
    assert verdict.passed
    assert verdict.precision == "float16"
    assert verdict.verification.limit == precision_named("float16").limit
    assert verdict.verification.worst.max_relative > 1e-5
    reversed_pair = slide_deploy.verify(exact, half)
    assert reversed_pair.precision == "float32"
    assert not reversed_pair.passed  # its weights are rounded
