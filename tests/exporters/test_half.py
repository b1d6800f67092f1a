"""Float16 files: operators that overflow are found by running, stay in float32 and are named."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exporters import pipeline
from exporters.outcome import ExportedFile, ExportOptions
from slide_deploy.errors import CheckFailed
from slide_deploy.graph_checks import check_file, read_graph
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY, PRECISION_KEY
from slide_deploy.graph_checks.rules.precision import RULE
from slide_deploy.graph_checks.weight_widths import weight_widths
from tests.shared import once
from tests.support import image_network, randomise

SHAPE = (3, 16, 16)
ONNX_SOON = pytest.mark.parametrize(
    "format", ["onnx", pytest.param("coreml", marks=pytest.mark.slow)]
)


class Small(nn.Module):
    """Tokens of an image, something in the middle, and a head."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.middle = middle
        self.head = nn.Linear(32, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        logits: torch.Tensor = self.head(self.middle(tokens).mean(1))
        return logits


class Scaled(nn.Module):
    """A projection with values of about 1e5, added to another one and scaled back."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = self.up(x) * 2e4
        tokens: torch.Tensor = self.down(torch.relu(large + large.flip(1)) * 1e-4)
        return tokens


class Normalised(nn.Module):
    """A decomposed normalisation of values whose squares overflow."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = self.up(x) * 800
        scale = (large * large).mean(-1, keepdim=True)
        tokens: torch.Tensor = self.down(large / torch.sqrt(scale + 1e-6))
        return tokens


class Heavy(nn.Module):
    """A projection with weights that float16 cannot represent."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = self.up(x)
        tokens: torch.Tensor = self.down(large / large.abs().amax(-1, keepdim=True))
        return tokens


class Sensitive(nn.Module):
    """Differences that are smaller than the rounding errors of float16."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.up(x)
        return ((y + 100) - 100) * (torch.sin(3000 * y))


def network(middle: nn.Module) -> nn.Module:
    model = randomise(Small(middle), seed=3)
    if isinstance(middle, Heavy):
        with torch.no_grad():
            middle.up.weight.mul_(1e6)
            middle.up.bias.mul_(1e6)
    return model


def scaled() -> ExportedFile:
    """The file of a network with values that overflow, which several tests read."""
    return once("scaled in float16", lambda folder: export(Scaled(), folder, "onnx"))


def export(middle: nn.Module, folder: Path, format: str) -> ExportedFile:
    options = ExportOptions((format,), folder, precision="float16")
    (file,) = pipeline.export(image_network(network(middle), SHAPE), options).files
    return file


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    ("middle", "format"),
    [
        pytest.param(Scaled(), "onnx", id="scaled-onnx"),
        pytest.param(Normalised(), "coreml", id="normalised-coreml"),
        pytest.param(Scaled(), "coreml", id="scaled-coreml", marks=pytest.mark.slow),
        pytest.param(Normalised(), "onnx", id="normalised-onnx", marks=pytest.mark.slow),
    ],
)
def test_what_overflows_is_found_and_stays_in_float32(
    middle: nn.Module, format: str, tmp_path: Path
) -> None:
    is_shared = isinstance(middle, Scaled) and format == "onnx"
    file = scaled() if is_shared else export(middle, tmp_path, format)
    assert file.passed, file.verification.worst
    assert file.kept
    graph = read_graph(file.paths[0])
    assert {node.name for node in graph.nodes} >= set(file.kept)
    # Few operators stay: the patches, the head and their neighbours are float16.
    assert len(file.kept) <= len(graph.nodes) // 2
    if format == "onnx":  # Core ML has no cast behind a weight
        assert {width.bits for width in weight_widths(graph)} == {16}
    assert check_file(file.paths[0]).passed
    manifest = json.loads((file.paths[0].parent / "manifest.json").read_text())
    assert manifest["files"][0]["kept_in_float32"]


@ONNX_SOON
def test_without_the_repair_the_same_network_fails(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("making", "overflow_repair"):
        monkeypatch.setattr(f"exporters.quantisation.{module}.overflowing", lambda *_: ())
    file = export(Scaled(), tmp_path, format)
    assert not file.verification.passed
    assert file.wrong_at
    assert not file.paths


def test_neighbours_in_float32_have_no_cast_between_them() -> None:
    file = scaled()
    model = onnx.load(file.paths[0])
    onnx.checker.check_model(model, full_check=True)
    given = {name: node for node in model.graph.node for name in node.output}
    inside = [
        (node.name, given[name].op_type)
        for node in model.graph.node
        if node.op_type in ("Relu", "Add") and node.name in file.kept
        for name in node.input
        if name in given
    ]
    assert inside
    assert all(operator != "Cast" for _, operator in inside)


def test_inputs_and_outputs_stay_float32(tmp_path: Path) -> None:
    model = onnx.load(export(nn.Identity(), tmp_path, "onnx").paths[0])
    ports = [*model.graph.input, *model.graph.output]
    assert [port.type.tensor_type.elem_type for port in ports] == [onnx.TensorProto.FLOAT] * 2
    halves = [each.data_type for each in model.graph.initializer if each.data_type < 6]
    assert halves == []


@pytest.mark.parametrize(
    "format",
    ["onnx", *(pytest.param(each, marks=pytest.mark.slow) for each in ("coreml", "openvino"))],
)
def test_weights_that_float16_cannot_represent_stay_and_are_named(
    format: str, tmp_path: Path
) -> None:
    file = export(Heavy(), tmp_path, format)
    assert file.passed, file.verification.worst
    graph = read_graph(file.paths[0])
    wide = [width.node.name for width in weight_widths(graph) if width.bits == 32]
    assert len(wide) == 1
    assert json.loads(graph.metadata[FLOAT_OPERATORS_KEY]) == wide
    assert check_file(file.paths[0]).passed
    graph.metadata[FLOAT_OPERATORS_KEY] = "[]"
    assert any("of its" in found.message for found in RULE.check(graph, None))
    graph.metadata[FLOAT_OPERATORS_KEY] = json.dumps([*wide, "another"])
    assert any("it is not" in found.message for found in RULE.check(graph, None))


@ONNX_SOON
def test_a_network_that_cannot_be_repaired_is_refused_in_a_sentence(
    format: str, tmp_path: Path
) -> None:
    options = ExportOptions((format,), tmp_path, precision="float16")
    result = pipeline.export(image_network(network(Sensitive()), SHAPE), options)
    with pytest.raises(CheckFailed, match=r"disagrees with .* first at the operator .*removed\."):
        result.raise_if_failed()
    assert not result.paths
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json"]


def test_a_float32_file_declared_as_float16_breaks_the_rule(tmp_path: Path) -> None:
    options = ExportOptions(("onnx",), tmp_path)
    (file,) = pipeline.export(image_network(network(nn.Identity()), SHAPE), options).files
    graph = read_graph(file.paths[0])
    graph.metadata[PRECISION_KEY] = "float16"
    assert list(RULE.check(graph, None))


def test_examples_reveal_overflow_that_the_cases_do_not(tmp_path: Path) -> None:
    """Return images that are twenty times as bright as the noise of the cases."""
    images = 20 * np.random.default_rng(0).standard_normal((8, *SHAPE)).astype(np.float32)
    np.savez(tmp_path / "bright.npz", image=images)
    middle = nn.Linear(32, 32)
    model = network(middle)
    with torch.no_grad():
        middle.weight.mul_(150)
    plain, shown = (
        pipeline.export(
            image_network(model, SHAPE),
            ExportOptions(
                ("onnx",), tmp_path / str(source is None), precision="float16", calibration=source
            ),
        ).files[0]
        for source in (None, tmp_path / "bright.npz")
    )
    assert plain.passed
    assert shown.passed
    assert not plain.kept
    assert shown.kept
