"""Chains of stored numbers: their dequantised values in each format, and hostile files."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from slide_deploy.graph_checks import Graph, read_graph
from slide_deploy.graph_checks.in_floats import in_floats
from slide_deploy.graph_checks.inspect import inspect
from slide_deploy.graph_checks.stored_weights import stored_weights
from tests.graph_checks.quantised.quantisers import claiming, reported, violations

RANDOM = np.random.default_rng(7)


def onnx_file(
    folder: Path, nodes: list[Any], constants: dict[str, Any], shape: list[int]
) -> tuple[Path, onnx.ModelProto]:
    """A file whose output is a value that is computed from constants."""
    tensors = [
        held if isinstance(held, TensorProto) else numpy_helper.from_array(held, name)
        for name, held in constants.items()
    ]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "small", [], [out], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    path = folder / "small.onnx"
    onnx.save(model, path)
    return path, model


def int4(numbers: np.ndarray, name: str, kind: int = TensorProto.INT4) -> TensorProto:
    return helper.make_tensor(name, kind, numbers.shape, numbers.ravel().tolist())


BYTES = RANDOM.integers(-128, 128, (6, 4), dtype=np.int8)
NIBBLES = RANDOM.integers(-8, 8, (6, 4), dtype=np.int8)
SCALES = RANDOM.uniform(0.01, 0.1, (6,)).astype(np.float32)


@pytest.mark.parametrize(
    ("constants", "attributes"),
    [
        pytest.param({"data": BYTES, "scale": np.float32(0.1)}, {}, id="by tensor"),
        pytest.param({"data": BYTES, "scale": SCALES}, {"axis": 0}, id="by channel"),
        pytest.param({"data": BYTES, "scale": SCALES[:4]}, {"axis": -1}, id="last axis"),
        pytest.param({"data": BYTES, "scale": SCALES[:4]}, {}, id="axis 1 where none is named"),
        pytest.param(
            {"data": BYTES, "scale": SCALES, "zero": np.arange(-3, 3).astype(np.int8)},
            {"axis": 0},
            id="zero points",
        ),
        pytest.param(
            {"data": BYTES, "scale": SCALES.reshape(3, 2).repeat(2, 1)},
            {"axis": 0, "block_size": 2},
            id="blocks",
        ),
        pytest.param({"data": int4(NIBBLES, "data"), "scale": SCALES}, {"axis": 0}, id="4 bits"),
        pytest.param(
            {"data": int4(NIBBLES + 8, "data", TensorProto.UINT4), "scale": SCALES},
            {"axis": 0},
            id="4 bits unsigned",
        ),
    ],
)
def test_onnx_weights_are_what_the_standard_says(
    tmp_path: Path, constants: dict[str, Any], attributes: dict[str, int]
) -> None:
    node = helper.make_node("DequantizeLinear", list(constants), ["out"], **attributes)
    path, model = onnx_file(tmp_path, [node], constants, [6, 4])
    (wanted,) = ReferenceEvaluator(model).run(None, {})
    found = stored_weights(read_graph(path))["out"].expand()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_openvino_weights_are_what_openvino_computes(tmp_path: Path) -> None:
    """By channel with a zero point, in float16, and rounded again between two ends."""
    import openvino
    from openvino import opset13 as ops

    wide = ops.convert(ops.constant(BYTES), "f16")
    shifted = ops.subtract(wide, ops.convert(ops.constant(np.int8([[3]] * 6)), "f16"))
    scaled = ops.multiply(shifted, ops.constant(SCALES.reshape(6, 1).astype(np.float16)))
    ends = [ops.constant(np.float32(end)) for end in (-2, 2)]
    rounded = ops.fake_quantize(ops.convert(scaled, "f32"), *ends, *ends, 16)
    image = ops.parameter([6, 6], np.float32, name="image")
    model = openvino.Model([ops.matmul(image, rounded, False, False)], [image], "small")
    path = tmp_path / "small.xml"
    openvino.save_model(model, path, compress_to_fp16=False)
    graph = read_graph(path)
    (product,) = (node for node in graph.nodes if node.operator == "MatMul")
    found = stored_weights(graph)[product.inputs[1]].expand()
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert len(np.unique(found)) <= 16
    np.testing.assert_allclose(found, compiled(np.eye(6, dtype=np.float32))[0], atol=1e-6)


def test_a_file_of_floats_is_left_as_it_is(exported: dict[str, Path]) -> None:
    for path in exported.values():
        graph = read_graph(path)
        assert in_floats(graph) is graph


# Files that mean harm


def chain(folder: Path, steps: int) -> Graph:
    """Each step subtracts a value from itself, cast; naive evaluation would take 2^steps steps."""
    nodes = [helper.make_node("Cast", ["data"], ["at0"], to=TensorProto.FLOAT)]
    for step in range(steps):
        nodes.append(helper.make_node("Cast", [f"at{step}"], [f"cast{step}"], to=1))
        nodes.append(helper.make_node("Sub", [f"at{step}", f"cast{step}"], [f"at{step + 1}"]))
    nodes.append(helper.make_node("Cast", [f"at{steps}"], ["out"], to=TensorProto.FLOAT))
    path, _ = onnx_file(folder, nodes, {"data": BYTES}, [6, 4])
    return read_graph(path)


@pytest.mark.parametrize("steps", [1, 40, 4000])
def test_a_long_chain_takes_linear_time(tmp_path: Path, steps: int) -> None:
    graph = claiming(chain(tmp_path, steps), "int8")
    assert violations(graph)
    inspect(graph)
    for weight in stored_weights(graph).values():
        weight.expand()


def test_a_weight_too_large_for_memory_is_not_expanded(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["data"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "scale"], ["out"]),
    ]
    constants = {
        "data": np.ones((30_000, 1), np.int8),
        "scale": np.ones((1, 30_000), np.float32),
    }
    path, _ = onnx_file(tmp_path, nodes, constants, [30_000, 30_000])
    graph = claiming(read_graph(path), "int8-weights")
    assert "out" not in stored_weights(graph)
    violations(graph)
    inspect(graph)


def test_parts_that_do_not_fit_are_reported(tmp_path: Path) -> None:
    constants = {"data": BYTES, "scale": SCALES[:5]}
    node = helper.make_node("DequantizeLinear", list(constants), ["out"], axis=0)
    path, _ = onnx_file(tmp_path, [node], constants, [6, 4])
    (line,) = reported(claiming(read_graph(path), "int8-weights"), "SD022")
    assert line == "Its stored parts do not fit together: (5,) does not fit the axis 0 of (6, 4)."
