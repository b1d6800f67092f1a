"""A file in float16 folds to one in float16, which can take its place."""

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from exporters.onnx_ends import retype_ends
from slide_deploy.hosts import load_checkpoint
from slide_deploy.models.slide_attention import SlideAttentionConfig
from slide_deploy.precisions import FLOAT16_LIMIT
from tests.evaluation.digits import CHECKPOINT
from tests.onnx_network.files import (
    Writer,
    difference,
    folded,
    outputs,
)
from tests.shared import once
from tests.support import random_attention

SHAPE = (1, 3, 32, 32)
WRITERS = (Writer("torchscript", 13), Writer("dynamo", 20, "open"))


def _halved(writer: Writer) -> Path:
    def make(folder: Path) -> Path:
        # Trained: networks with random weights lose more to float16 than its limit allows.
        model = load_checkpoint(CHECKPOINT).model.half()
        writer.write(model, torch.zeros(SHAPE, dtype=torch.float16), folder / "half.onnx")
        return folder / "half.onnx"

    return once(("half onnx file", writer), make)


def _ends(path: Path) -> list[tuple[str, int]]:
    graph = onnx.load(path).graph
    return [
        (value.name, value.type.tensor_type.elem_type) for value in (*graph.input, *graph.output)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "writer", [pytest.param(WRITERS[0]), pytest.param(WRITERS[1], marks=pytest.mark.full)]
)
def test_a_file_in_float16_keeps_its_types(writer: Writer, tmp_path: Path) -> None:
    path = _halved(writer)
    result = folded(path, tmp_path / "folded.onnx")
    assert result.passed and len(result.certificate.folded) == 4
    assert result.export is not None and result.export.files[0].precision == "float16"
    assert _ends(result.path) == _ends(path)
    assert {kind for _, kind in _ends(path)} == {TensorProto.FLOAT16}
    weights = [each for each in onnx.load(result.path).graph.initializer if len(each.dims) > 1]
    assert {each.data_type for each in weights} <= {TensorProto.FLOAT16, TensorProto.INT64}
    shape = (3 if writer.batch == "open" else 1, *SHAPE[1:])
    assert difference(result.path, path, shape, dtype="float16") < FLOAT16_LIMIT.relative


@pytest.mark.slow_but_first
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_ends_of_other_types(dtype: torch.dtype, tmp_path: Path) -> None:
    """They stay float64; bfloat16 becomes float32, with a remark."""
    attention = random_attention(SlideAttentionConfig(dim=8, num_heads=2))
    image = torch.zeros(1, 8, 9, 11, dtype=dtype)
    WRITERS[0].write(attention.eval().to(dtype), image, tmp_path / "model.onnx")
    result = folded(tmp_path / "model.onnx", tmp_path / "folded.onnx")
    assert result.passed and len(result.certificate.folded) == 1
    is_double = dtype == torch.float64
    wanted = TensorProto.DOUBLE if is_double else TensorProto.FLOAT
    assert {kind for _, kind in _ends(result.path)} == {wanted}
    assert any("bfloat16" in each for each in result.remarks) != is_double


def test_casts_that_lead_back_are_left_out(tmp_path: Path) -> None:
    """As in a file of ours in float16, whose ends are float32."""
    path = tmp_path / "model.onnx"
    cast = [
        helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["x16"], ["y16"]),
        helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Neg", ["x"], ["z"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (3,)) for name in "xyz"]
    inside = [helper.make_tensor_value_info("y16", TensorProto.FLOAT16, (3,))]
    graph = helper.make_graph(cast, "graph", ends[:1], ends[1:], value_info=inside)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    assert not retype_ends(path, {"x": "float32", "w": "float16"})
    assert retype_ends(path, dict.fromkeys("xy", "float16"))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert sorted(node.op_type for node in model.graph.node) == ["Cast", "Cast", "Neg", "Relu"]
    assert _ends(path) == [("x", TensorProto.FLOAT16), ("y", TensorProto.FLOAT16), ("z", 1)]
    x = numpy_helper.to_array(helper.make_tensor("x", TensorProto.FLOAT16, (3,), [-1, 0.5, 2]))
    y, z = outputs(path, x)
    assert y.tolist() == [0, 0.5, 2] and z.tolist() == [1, -0.5, -2]
