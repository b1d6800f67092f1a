"""Errors of converters are one sentence that names the operator and its layer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporters import pipeline
from exporters.base import ExportRequest, Traces, exporter_for
from exporters.outcome import ExportOptions
from exporters.refusals import converter_failed
from slide_deploy.backends import open_file
from slide_deploy.deployable.module import deployable_of
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.lowerings import Lowering
from slide_deploy.tuning.choice import for_format
from tests.foreign.classes import ForeignAttention
from tests.support import FORMATS, randomise

HEIGHT_AND_WIDTH = {"x": {2: "height", 3: "width"}}


class Inner(nn.Module):
    """Has an operator that Core ML's converter does not support."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.i0(x)


class Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(3, 4, 1), inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.first(x))
        return out


class Pools(nn.Module):
    """Kinds of pooling that torch, OpenVINO and Core ML express with different operators."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        rows = x.flatten(2)
        tokens = rows.transpose(1, 2).transpose(1, 2)
        return {
            "max": nn.functional.max_pool2d(x, 2),
            "mean": nn.functional.avg_pool2d(x, 2),
            "row": nn.functional.max_pool1d(rows, 3),
            "stepped": nn.functional.max_pool2d(x, 3, stride=1, padding=1),
            "all": nn.functional.adaptive_avg_pool2d(x.permute(0, 2, 3, 1).permute(0, 3, 1, 2), 1),
            "each": nn.functional.adaptive_avg_pool1d(tokens, 1),
        }


def of(model: nn.Module, *shape: int, **settings: object) -> Deployable:
    example = torch.randn(shape or (1, 3, 8, 8))
    return deployable_of(randomise(model), example, **settings)  # type: ignore[arg-type]


def options(format: str, folder: Path, lowering: object = None) -> ExportOptions:
    return ExportOptions((format,), folder, lowering or for_format)  # type: ignore[arg-type]


def test_an_operator_that_core_ml_lacks_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporters.coreml_exporter.write", lambda *_: pytest.fail("written"))
    with pytest.raises(InputError, match=r"^inner \(Inner\) computes special_i0, which core"):
        pipeline.export(of(Outer(Inner())), options("coreml", tmp_path))
    assert not list(tmp_path.rglob("*.mlpackage"))


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_the_layer_of_an_operator_that_a_converter_lacks_is_named(
    format: str, tmp_path: Path
) -> None:
    class Rare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.modified_bessel_i0(x)

    with pytest.raises(InputError, match=rf"not be written as {format}: .* at inner \(Rare\)"):
        pipeline.export(of(Outer(Rare())), options(format, tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ("node conv2d (conv2d) got 2 input(s)", " at first (Conv2d) "),
        ("Exception happened during conversion of operation relu with schema", " at inner (ReLU) "),
        ("no conversion for aten::relu", " at inner (ReLU) "),
        ("no reason given", " failed ("),
        ("node nowhere failed", " failed ("),
    ],
)
def test_the_layer_is_found_from_the_message_of_a_converter(message: str, where: str) -> None:
    whole = of(Outer(nn.ReLU()))
    program = ExportRequest(Traces(whole), {}).program
    error = converter_failed(RuntimeError(message), program, whole, "a.xml", "openvino")
    assert where in str(error) and message in str(error)
    assert str(error).endswith("which versions are installed.")


def test_the_remedy_for_open_sizes_is_to_fix_them() -> None:
    whole = of(Outer(nn.ReLU()), open_sizes=HEIGHT_AND_WIDTH)
    program = ExportRequest(Traces(whole), {}).program
    error = converter_failed(RuntimeError("no"), program, whole, "a.xml", "openvino")
    assert str(error).endswith("leave height and width fixed for openvino, or leave openvino out.")


@pytest.mark.parametrize("form", ["flat", "depthwise/2"])
def test_a_form_for_one_map_size_is_refused_where_sizes_are_open(form: str, tmp_path: Path) -> None:
    whole = of(Outer(ForeignAttention(4, 2)), open_sizes=HEIGHT_AND_WIDTH)
    with pytest.raises(InputError, match=r"leave the image size fixed, or"):
        pipeline.export(whole, options("onnx", tmp_path, Lowering.parse(form)))
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.slow
def test_auto_falls_back_to_a_form_for_any_map_size(tmp_path: Path) -> None:
    whole = of(Outer(ForeignAttention(4, 2)), open_sizes=HEIGHT_AND_WIDTH)
    flat = options("onnx", tmp_path, lambda *_: lambda _: Lowering("flat", 2, "measured"))
    result = pipeline.export(whole, flat)
    assert result.passed
    (lowering,) = result.files[0].lowerings.values()
    assert str(lowering) == exporter_for("onnx").record.default_form
    assert "flat is fastest, but needs a fixed image size" in lowering.source


@pytest.mark.parametrize(
    "format",
    [pytest.param(each, marks=() if each != "openvino" else pytest.mark.slow) for each in FORMATS],
)
def test_pooling_is_written_in_operators_that_every_converter_supports(
    format: str, tmp_path: Path
) -> None:
    x = torch.randn(1, 3, 8, 12)
    model = Pools()
    result = pipeline.export(deployable_of(model, x), options(format, tmp_path))
    assert result.passed, result.problems
    given = open_file(result.files[0].paths[0])({"x": x.numpy()})
    for name, wanted in model(x).items():
        assert np.abs(given[name] - wanted.numpy()).max() < 1e-5, name
    assert not {"Gather", "gather"} & set(result.files[0].operators)
