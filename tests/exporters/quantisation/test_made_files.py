"""Quantised files: their content, and what is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import slide_deploy
from exporters.quantisation import onnx_file
from exporters.quantisation.families import Family
from exporters.quantisation.int8_constants import to_int8
from exporters.quantisation.plan import QuantisationPlan, families_of
from slide_deploy import InputError
from slide_deploy.backends import open_file
from slide_deploy.graph_checks import check_file, read_graph
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY
from slide_deploy.graph_checks.weight_widths import float_operators, weight_widths
from slide_deploy.verification.reference_outputs.reference_file import reference_path
from tests.evaluation.digits import CHECKPOINT as DIGITS
from tests.evaluation.digits import digits_in
from tests.exporters.quantisation.colours import archive, colours, image, normalised, pictures
from tests.shared import once
from tests.support import GOLDEN

FORMATS = ("onnx", "openvino")
ONNX_SOON = pytest.mark.parametrize(
    "format", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)]
)
NANO = GOLDEN / "slide_swin_nano.pth"


def made(precision: str = "int8") -> slide_deploy.ExportResult:
    def export(out: Path) -> slide_deploy.ExportResult:
        examples = pictures() if precision == "int8" else None
        return slide_deploy.export(
            colours(), image(), to=FORMATS, precision=precision, out=out, calibration=examples
        )

    return once(("made", precision), export)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("precision", ["int8", "int8-weights"])
def test_a_file_passes_every_rule_and_states_its_precision(format: str, precision: str) -> None:
    result = made(precision)
    assert result.passed, result.problems
    path = result.paths[format]
    assert tuple(check_file(path).violations) == ()
    graph = read_graph(path)
    assert graph.metadata["slide_deploy.precision"] == precision
    kept = tuple(json.loads(graph.metadata[FLOAT_OPERATORS_KEY]))
    assert kept == float_operators(graph)
    assert [width.bits for width in weight_widths(graph)].count(8) >= 2
    beside = {each.name for each in path.parent.iterdir()}
    proofs = {reference_path(path.with_suffix(each)).name for each in (".onnx", ".xml")}
    assert beside == {"colours.onnx", "colours.xml", "colours.bin", "manifest.json", *proofs}
    for entry in json.loads(result.manifest.read_text())["files"]:
        if precision == "int8":
            assert entry["calibration"]["source"] == str(pictures())
            assert (entry["calibration"]["measured"], entry["calibration"]["seed"]) == (45, 0)
            assert len(entry["calibration"]["sha256"]) == 64
        else:
            assert "calibration" not in entry


def test_an_onnx_file_is_ours_and_stores_nothing_twice() -> None:
    model = onnx.load(made().paths["onnx"])
    assert model.producer_name == "slide-deploy"
    assert not [each.key for each in model.metadata_props if "onnx.infer" in each.key]
    assert {each.domain for each in model.opset_import} == {""}


class Shared(nn.Module):
    """A projection that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 4, 4)
        self.shared = nn.Linear(64, 64)
        self.head = nn.Linear(64, 40)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        return self.head(self.shared(self.shared(tokens).relu()).mean(1))


@ONNX_SOON
def test_a_shared_weight_is_stored_once(tmp_path: Path, format: str) -> None:
    torch.manual_seed(0)
    result = slide_deploy.export(
        Shared(), image(), to=format, precision="int8", calibration=pictures(), out=tmp_path
    )
    assert result.passed, result.problems
    assert tuple(check_file(result.paths[format]).violations) == ()


def test_families_of_a_user_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, 2, 1),
        nn.Conv2d(64, 256, 3, 1, 1, groups=64),
        nn.ReLU(),
        nn.Conv2d(256, 64, 1),
        nn.Flatten(2),
        nn.Linear(16, 200),
        nn.GELU(),
        nn.Linear(200, 16),
    )
    for path in slide_deploy.export(network, image(), to=FORMATS, out=tmp_path).paths.values():
        assert list(families_of(path).values()) == [
            Family.PATCHES,
            Family.CONVOLUTIONS,
            Family.DEPTHWISE,
            Family.POINTWISE,
            Family.PROJECTIONS,
            Family.HEAD,
        ]


@pytest.mark.parametrize("format", FORMATS)
def test_a_small_slide_swin_has_attention_matmuls(format: str) -> None:
    found = families_of(digits_in(format))
    counted = list(found.values())
    assert counted.count(Family.ATTENTION) == 4
    assert counted.count(Family.PROJECTIONS) + counted.count(Family.HEAD) == 13


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("precision", ["int8", "int8-weights"])
def test_a_network_with_nothing_to_quantise_is_refused(
    tmp_path: Path, format: str, precision: str
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 2))
    examples = pictures() if precision == "int8" else None
    with pytest.raises(InputError, match=f"The {format} file has no weight .* for {precision}"):
        slide_deploy.export(
            network, image(), to=format, precision=precision, calibration=examples, out=tmp_path
        )
    assert list(tmp_path.iterdir()) == []


@ONNX_SOON
def test_an_open_batch_works(tmp_path: Path, format: str) -> None:
    result = slide_deploy.export(
        colours(),
        image(),
        to=format,
        precision="int8",
        dynamic_batch=True,
        calibration=pictures(),
        max_drop=0.5,
        out=tmp_path,
    )
    assert result.passed, result.problems
    images = normalised(np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)).numpy()
    session = open_file(result.paths[format])
    assert session.inputs[0].shape[0] is None
    (answers,) = session({"image": images}).values()
    assert answers.argmax(1).tolist() == [0, 1, 2]


def test_other_open_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int8 is calibrated at a fixed size: leave height fixed"):
        slide_deploy.export(
            colours(),
            image(),
            to="onnx",
            precision="int8",
            calibration=pictures(),
            out=tmp_path,
            open_sizes={"image": {2: "height", 3: "width"}},
        )


@pytest.mark.full
def test_feature_maps_of_all_stages(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", image=random.standard_normal((12, 3, 32, 32)).astype("f4"))
    told = {"to": FORMATS, "precision": "int8", "calibration": tmp_path / "set.npz"}
    result = slide_deploy.export(DIGITS, features=True, out=tmp_path / "out", **told)
    assert result.passed, result.problems
    for format in FORMATS:
        assert len(result.file(format).verification.outputs) == 3
    with pytest.raises(InputError, match="outputs stage"):
        slide_deploy.export(
            DIGITS, features=True, max_drop=1, data=pictures(), out=tmp_path / "other", **told
        )


@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_constants_in_8_bits_are_off_by_half_a_step_at_most(axis: int | None) -> None:
    values = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    values[2] *= 100
    found = to_int8(values, axis)
    others = None if axis is None else tuple(each for each in range(2) if each != axis % 2)
    steps = np.abs(values).max(axis=others, keepdims=True) / 127
    assert found.values.dtype == np.int8
    assert np.array_equal(np.broadcast_to(steps, found.scale.shape), found.scale)
    assert (np.abs(found.values * found.scale - values) <= 0.5001 * found.scale).all()
    assert np.abs(found.values).max() == 127


def test_a_constant_of_zeros_is_zeros() -> None:
    found = to_int8(np.zeros((3, 4), np.float32), 0)
    assert (found.values == 0).all()
    assert (found.scale == 1).all()


def quantised_elsewhere(source: Path, target: Path, how: str) -> None:
    """Quantise every matmul with ONNX Runtime, without a plan."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    told = {"op_types_to_quantize": ["MatMul"], "per_channel": True, "weight_type": QuantType.QInt8}
    if how == "dynamic":
        quantize_dynamic(source, target, **told)
        return

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            # Calibrate on images that are normalised twice, which gives far too small ranges.
            pixels = np.random.default_rng(0).integers(0, 256, (8, 3))
            self.left = list(normalised(pixels).numpy() / 255)

        def get_next(self):
            return {"image": self.left.pop()[None]} if self.left else None

    quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, **told)


class Heads(nn.Module):
    """Multiplies tokens with a matrix for each head, a weight of three axes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.patches = nn.Conv2d(3, 64, 4, 4)
        sizes = torch.logspace(-3, 1, 16)[None, :, None] * torch.logspace(-2, 1, 4)[:, None, None]
        self.weight = nn.Parameter(torch.randn(4, 16, 16) * sizes)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).reshape(-1, 4, 16, 16).transpose(2, 3)
        tokens = tokens.reshape(4, 16, 16)
        return torch.matmul(tokens, self.weight).mean(1).reshape(1, 64)


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_files_that_another_quantiser_breaks_are_refused(tmp_path: Path, run, how: str) -> None:
    source = once("heads", lambda out: slide_deploy.export(Heads(), image(), to="onnx", out=out))
    wrong = tmp_path / "wrong.onnx"
    quantised_elsewhere(source.paths["onnx"], wrong, how)
    code, _, err = run(
        "verify",
        wrong,
        "--model",
        "tests.exporters.quantisation.test_made_files:Heads",
        "--input",
        "image=1x3x16x16",
        "--precision",
        "int8",
        "--calibration",
        pictures(),
    )
    message = err.strip().splitlines()[-1]
    assert code in (1, 2)
    # The quantiser has no per-channel scales for weights of more than two axes.
    assert message.startswith("slide-deploy: ")
    assert "MatmulInteger" in message if how == "dynamic" else "onnx" in message


def with_wrong_scale(path: Path, target: Path, factor: float) -> None:
    """Return an int8 file in which the scale of one weight is wrong."""
    model = onnx.load(path)
    stored = {each.name: each for each in model.graph.initializer}
    (scale, *_) = (
        node.input[1]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    )
    numbers = (numpy_helper.to_array(stored[scale]) * factor).astype(np.float32)
    stored[scale].CopyFrom(numpy_helper.from_array(numbers, scale))
    onnx.save(model, target)


def test_a_wrong_scale_of_one_weight_is_refused_by_verify(tmp_path: Path, run) -> None:
    wrong = tmp_path / "wrong.onnx"
    with_wrong_scale(made().paths["onnx"], wrong, 4.0)
    code, _, err = run(
        "verify",
        wrong,
        "--model",
        "tests.exporters.quantisation.colours:colours",
        "--input",
        "image=1x3x16x16",
        "--precision",
        "int8",
        "--calibration",
        pictures(),
    )
    assert code == 1
    assert "disagrees with" in err


@pytest.mark.parametrize(
    "factor", [0.5, 2.0, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.25, 4.0))]
)
def test_a_wrong_scale_of_one_weight_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    quantise = onnx_file.quantise

    def wrongly(source: Path, target: Path, plan: QuantisationPlan) -> None:
        quantise(source, target, plan)
        with_wrong_scale(target, target, factor)

    monkeypatch.setattr(onnx_file, "quantise", wrongly)
    result = slide_deploy.export(
        colours(), image(), to="onnx", precision="int8", calibration=pictures(), out=tmp_path
    )
    assert result.paths == {}
    assert "examples held back (SNR" in result.problems[0]
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_noise_archive_is_a_valid_calibration_set(tmp_path: Path) -> None:
    result = slide_deploy.export(
        colours(),
        image(),
        to="onnx",
        precision="int8",
        out=tmp_path / "out",
        calibration=archive(tmp_path / "set.npz"),
    )
    assert result.passed, result.problems
