"""Predicted classes of files from other tools: any type and layout of the input, any outputs.

Every file here answers ``mean over the map of its input x WEIGHT``, so that what it must say of a
picture of one colour can be computed without it.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from slide_deploy.backends import open_image_file
from slide_deploy.errors import InputError
from slide_deploy.images.prediction import Guess, are_probabilities, choose_output, predict

COLOUR = np.array([200, 30, 10])
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
WEIGHT = np.random.default_rng(3).standard_normal((3, 4))
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
SUFFIXES = [".onnx", ".xml"]
# Of the answers' type.
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "uint8": 1e-5}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), tuple(COLOUR)).save(tmp_path / "colour.png")
    return tmp_path / "colour.png"


def shares(pixels: bool, divisor: float = 255.0) -> np.ndarray:
    """The expected probabilities."""
    values = COLOUR / divisor if pixels else (COLOUR / 255 - MEAN) / DEVIATION
    exponentials = np.exp(values @ WEIGHT)
    return exponentials / exponentials.sum()


def assert_shares(guesses: list[Guess], expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert [guess.index for guess in guesses] == list(np.argsort(-expected))
    found = np.array([guess.probability for guess in guesses])
    assert np.abs(found - np.sort(expected)[::-1]).max() < tolerance


def network(
    path: Path,
    dtype: str,
    last: bool = False,
    *,
    batch: int | None = 1,
    sides: tuple[int | str, int | str] = (8, 8),
    tail: list[onnx.NodeProto] | None = None,
    outputs: dict[str, tuple[int, list[object]]] | None = None,
) -> Path:
    """A classifier; ``tail`` goes on from its ``logits``."""
    shape = [batch, *sides, 3] if last else [batch, 3, *sides]
    inside = TensorProto.FLOAT if dtype == "uint8" else TYPES[dtype]
    head = WEIGHT / 255 if dtype == "uint8" else WEIGHT
    head = head.astype(np.float16 if dtype == "float16" else np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=inside),
        helper.make_node("ReduceMean", ["x"], ["r"], axes=[1, 2] if last else [2, 3], keepdims=0),
        helper.make_node("MatMul", ["r", "head"], ["logits"]),
        *(tail or []),
    ]
    outputs = outputs or {"logits": (inside, [batch, 4])}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TYPES[dtype], shape)],
        [helper.make_tensor_value_info(name, *said) for name, said in outputs.items()],
        [numpy_helper.from_array(head, "head")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def written(path: Path, suffix: str) -> Path:
    """The same file for another runtime."""
    if suffix == ".xml":
        import openvino

        model = openvino.convert_model(path)
        path = path.with_suffix(".xml")
        openvino.save_model(model, path, compress_to_fp16=False)
    return path


@pytest.mark.parametrize(
    ("suffix", "batch"), [(".onnx", 1), (".onnx", 3), (".onnx", None), (".xml", 3), (".xml", None)]
)
@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", TYPES)
def test_types_and_orders(
    picture: Path, tmp_path: Path, dtype: str, last: bool, batch: int | None, suffix: str
) -> None:
    path = written(network(tmp_path / "n.onnx", dtype, last, batch=batch), suffix)
    guesses = predict(open_image_file(path), [picture], (), 4)
    assert_shares(guesses, shares(dtype == "uint8"), TOLERANCE[dtype])
    prepared = guesses[0].prepared
    assert prepared.startswith("middle of 8x8, RGB, ")
    assert prepared.endswith(f"{dtype} {'NHWC' if last else 'NCHW'}")
    assert ("pixels from 0 to 255" in prepared) == (dtype == "uint8")
    assert ("normalised as in ImageNet training" in prepared) == (dtype != "uint8")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("last", [False, True])
def test_rows_and_columns_are_not_exchanged(tmp_path: Path, last: bool, suffix: str) -> None:
    """A file that answers the input itself, of unequal sides and channels."""
    sides = (6, 10)
    shape = [1, *sides, 3] if last else [1, 3, *sides]
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["x"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 180])],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, tmp_path / "n.onnx")
    session = open_image_file(written(tmp_path / "n.onnx", suffix))
    ramp = np.zeros((24, 40, 3), np.uint8)
    ramp[..., 0] = np.arange(24)[:, None] * 4
    ramp[..., 1] = np.arange(40) * 4
    ramp[..., 2] = 7
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    from slide_deploy.images.preprocessing import ImageInput

    image = ImageInput.read(session.image.shape, session.image.dtype, session.image.pixels)
    seen = session.outputs(image.load(tmp_path / "ramp.png"))["logits"]
    seen = seen.reshape((*sides, 3)) if last else seen.reshape(3, *sides).transpose(1, 2, 0)
    assert (np.diff(seen[..., 0], axis=0) > 0).all()
    assert (np.diff(seen[..., 1], axis=1) > 0).all()
    assert (seen[..., 2] == 7).all()


def softmaxed(dtype: int) -> tuple[list[onnx.NodeProto], dict[str, tuple[int, list[object]]]]:
    return [helper.make_node("Softmax", ["logits"], ["y"])], {"y": (dtype, [1, 4])}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_softmax_is_not_taken_twice(
    picture: Path, tmp_path: Path, dtype: str, suffix: str
) -> None:
    tail, outputs = softmaxed(TYPES[dtype])
    path = network(tmp_path / "n.onnx", dtype, tail=tail, outputs=outputs)
    guesses = predict(open_image_file(written(path, suffix)), [picture], (), 4)
    assert_shares(guesses, shares(pixels=False), TOLERANCE[dtype])


def test_probabilities_are_recognised() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((5, 1000)) * 4
    exponentials = np.exp(logits)
    rows = exponentials / exponentials.sum(axis=1, keepdims=True)
    for dtype in (np.float16, np.float32, np.float64):
        assert are_probabilities(rows.astype(dtype))
        assert not are_probabilities(logits.astype(dtype))
    assert not are_probabilities(np.log(rows))
    # One row by chance, another one not.
    assert not are_probabilities(np.array([[0.25, 0.75], [0.3, 0.4]]))
    assert not are_probabilities(np.array([[1.5, -0.5]]))


def test_several_outputs(picture: Path, tmp_path: Path) -> None:
    tail = [
        helper.make_node("Softmax", ["logits"], ["prob"]),
        helper.make_node("Concat", ["r", "r"], ["embedding"], axis=1),
        helper.make_node("Identity", ["x"], ["map"]),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
    ]
    kind = TensorProto.FLOAT
    # Neither a map nor a number without the batch stands in the way.
    outputs: dict[str, tuple[int, list[object]]] = {
        "map": (kind, [1, 3, 8, 8]),
        "largest": (kind, []),
        "logits": (kind, [1, 4]),
    }
    path = network(tmp_path / "a.onnx", "float32", tail=tail, outputs=outputs)
    guesses = predict(open_image_file(path), [picture], (), 4)
    assert guesses[0].output == "logits"
    assert_shares(guesses, shares(pixels=False))

    outputs["embedding"] = (kind, [1, 6])
    outputs["prob"] = (kind, [1, 4])
    path = network(tmp_path / "b.onnx", "float32", tail=tail, outputs=outputs)
    session = open_image_file(path)
    for wanted in (None, "logits", "prob"):
        guesses = predict(session, [picture], (), 4, output=wanted)
        assert guesses[0].output == (wanted or "logits")
        assert_shares(guesses, shares(pixels=False))
    with pytest.raises(InputError, match=r"no output scores: it outputs map .1x3x8x8., largest"):
        predict(session, [picture], (), 4, output="scores")
    with pytest.raises(InputError, match="--output map is not a row of classes"):
        predict(session, [picture], (), 4, output="map")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_ambiguous_choice_of_output_is_refused(
    picture: Path, tmp_path: Path, suffix: str
) -> None:
    tail = [helper.make_node("Identity", ["logits"], [name]) for name in ("left", "right")]
    outputs: dict[str, tuple[int, list[object]]] = {
        name: (TensorProto.FLOAT, [1, 4]) for name in ("left", "right")
    }
    path = network(tmp_path / "n.onnx", "float32", tail=tail, outputs=outputs)
    session = open_image_file(written(path, suffix))
    with pytest.raises(InputError, match="choose one of left, right with --output"):
        predict(session, [picture], (), 4)
    assert_shares(predict(session, [picture], (), 4, output="right"), shares(pixels=False))


def test_outputs_are_chosen_by_shape_type_and_name() -> None:
    row = np.zeros((2, 5), np.float32)
    pooled = np.zeros((2, 5, 1, 1), np.float32)
    best = np.zeros((2, 5), np.int64)
    one = np.zeros((2, 1), np.float32)
    assert choose_output({"best": best, "values": row}, 2, None) == "values"
    assert choose_output({"objectness": one, "y": pooled}, 2, None) == "y"
    assert choose_output({"features": row, "Class_Scores": row}, 2, None) == "Class_Scores"
    with pytest.raises(InputError, match="needs a row of logits"):
        choose_output({"best": best, "other": np.zeros((7, 5), np.float32)}, 2, None)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("last", [False, True])
def test_open_sizes_must_be_given(picture: Path, tmp_path: Path, last: bool, suffix: str) -> None:
    path = written(network(tmp_path / "n.onnx", "float32", last, sides=(-1, -1)), suffix)
    session = open_image_file(path)
    with pytest.raises(
        InputError, match="of any size: give the size of training, such as --image-size"
    ):
        predict(session, [picture], (), 4)
    guesses = predict(session, [picture], (), 4, size=(16, 12))
    assert guesses[0].prepared.startswith("middle of 16x12")
    assert_shares(guesses, shares(pixels=False))


def test_other_inputs_are_refused(picture: Path, tmp_path: Path) -> None:
    fixed = open_image_file(network(tmp_path / "n.onnx", "float32"))
    with pytest.raises(InputError, match="1x3x8x8, not of 9x9: change --image-size"):
        predict(fixed, [picture], (), 1, size=(9, 9))
    path = tmp_path / "grey.onnx"
    model = onnx.load(network(tmp_path / "n.onnx", "float32"))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(WEIGHT[:1].astype(np.float32), "head")
    )
    onnx.save(model, path)
    with pytest.raises(InputError, match="predict needs three channels, second or last"):
        predict(open_image_file(path), [picture], (), 1)
    model = onnx.load(network(tmp_path / "n.onnx", "float32"))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    with pytest.raises(InputError, match="takes an input of int64: expected images of float32"):
        open_image_file(path)


def test_a_file_of_pixels_is_not_verified_with_normalised_images(tmp_path: Path) -> None:
    session = open_image_file(network(tmp_path / "n.onnx", "uint8"))
    with pytest.raises(InputError, match="takes uint8 images, not float32 ones"):
        session.outputs(np.zeros((1, 3, 8, 8), np.float32))


def test_numbers_that_are_not_finite_are_named(tmp_path: Path, picture: Path) -> None:
    tail = [helper.make_node("Log", ["r"], ["y"])]
    outputs: dict[str, tuple[int, list[object]]] = {"y": (TensorProto.FLOAT, [1, 3])}
    path = network(tmp_path / "n.onnx", "float32", tail=tail, outputs=outputs)
    with pytest.raises(InputError, match=r"numbers that are not finite for .*colour\.png"):
        predict(open_image_file(path), [picture], (), 1)


class Head(torch.nn.Module):
    """The same classifier for Core ML."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean((2, 3)) @ torch.tensor(WEIGHT, dtype=image.dtype)


@pytest.mark.parametrize("kind", ["float32", "float16", "RGB", "BGR", "NHWC"])
def test_core_ml_packages(tmp_path: Path, picture: Path, kind: str) -> None:
    ct = pytest.importorskip("coremltools")
    shape = (1, 3, 8, 8)
    module: torch.nn.Module = Head()
    options: dict[str, object] = {"outputs": [ct.TensorType("logits")]}
    if kind in ("RGB", "BGR"):
        layout = getattr(ct.colorlayout, kind)
        image = ct.ImageType("image", shape, scale=1 / 255, color_layout=layout)
    elif kind == "NHWC":
        shape = (1, 8, 8, 3)

        class Last(Head):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return super().forward(image.permute(0, 3, 1, 2))

        module, image = Last(), ct.TensorType("image", shape)
    elif kind == "float16":
        image = ct.TensorType("image", shape, dtype=np.float16)
        options["outputs"] = [ct.TensorType("logits", dtype=np.float16)]
    else:
        image = ct.TensorType("image", shape)
    program = torch.jit.trace(module.eval(), torch.zeros(shape))
    precision = ct.precision.FLOAT16 if kind == "float16" else ct.precision.FLOAT32
    target = ct.target.iOS16
    package = ct.convert(
        program,
        inputs=[image],
        compute_precision=precision,
        minimum_deployment_target=target,
        **options,
    )
    package.save(str(tmp_path / "n.mlpackage"))
    guesses = predict(open_image_file(tmp_path / "n.mlpackage"), [picture], (), 4)
    expected = shares(pixels=kind in ("RGB", "BGR"))
    if kind == "BGR":
        exponentials = np.exp(COLOUR[::-1] / 255 @ WEIGHT)
        expected = exponentials / exponentials.sum()
    assert_shares(guesses, expected, 5e-3 if kind == "float16" else 1e-4)


def test_the_command_prints_the_preprocessing(tmp_path: Path, picture: Path) -> None:
    path = network(tmp_path / "n.onnx", "uint8", last=True)
    call = [sys.executable, "-m", "slide_deploy", "predict", str(path), str(picture)]
    out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    assert "pictures: middle of 8x8, RGB, pixels from 0 to 255, uint8 NHWC" in out
    rows = json.loads(
        subprocess.run([*call, "--json", "-"], capture_output=True, text=True, check=True).stdout
    )
    assert rows[0]["prepared"] in out
    assert rows[0]["output"] == "logits"
