"""A file of float16 is run with the rounding that it says, though the processor has none."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from slide_deploy.backends.onnxruntime.half_arithmetic import (
    file_in_float32,
    has_float16,
    with_rounding,
)
from slide_deploy.backends.opening import open_exactly
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph

# The folder of external data of models that have none.
NO_DATA = Path()


def model(*nodes: onnx.NodeProto, size: int, **weights: np.ndarray) -> onnx.ModelProto:
    """A file from x to y, both float32, of one row."""
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name in ("x", "y")
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "test", ports[:1], ports[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(file: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        file.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0])


def to_half(name: str, output: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [output], to=TensorProto.FLOAT16)


def to_float(name: str, output: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [output], to=TensorProto.FLOAT)


def test_every_number_is_rounded_as_numpy_does() -> None:
    random = np.random.default_rng(0)
    numbers = np.concatenate(
        [
            random.standard_normal(20000) * 10.0 ** random.uniform(-9, 6, 20000),
            [0.0, -0.0, 65504.0, 65519.9, 65520.0, -65520.0, 2.0**-24, 2.0**-25, 2.0**-14],
            [np.inf, -np.inf, np.nan, 1e-30, 3e38, 1 + 2.0**-11, 1 + 3 * 2.0**-11],
            np.arange(2048) * 2.0**-25,
        ]
    ).astype(np.float32)[None]
    file = model(to_half("x", "h"), to_float("h", "y"), size=numbers.size)
    with np.errstate(over="ignore"):
        wanted = numbers.astype(np.float16).astype(np.float32)
    assert np.array_equal(run(with_rounding(file, NO_DATA), numbers), wanted, equal_nan=True)


@pytest.fixture
def overflowing() -> onnx.ModelProto:
    """X times 1e4 and back, in float16."""
    return model(
        to_half("x", "h"),
        helper.make_node("Mul", ["h", "up"], ["large"]),
        helper.make_node("Mul", ["large", "down"], ["back"]),
        to_float("back", "y"),
        size=3,
        up=np.array(1e4, np.float16),
        down=np.array(1e-4, np.float16),
    )


def test_an_overflow_that_the_cpu_hides_shows_with_the_rounding(
    overflowing: onnx.ModelProto,
) -> None:
    x = np.array([[1.0, 10.0, -20.0]], np.float32)
    assert np.isfinite(run(overflowing, x)).all()
    assert np.array_equal(
        np.isfinite(run(with_rounding(overflowing, NO_DATA), x)), [[True, False, False]]
    )


def test_a_float16_file_is_recognised(overflowing: onnx.ModelProto) -> None:
    assert has_float16(overflowing)
    assert not has_float16(with_rounding(overflowing, NO_DATA))


def test_a_float16_file_is_computed_in_float32_as_a_reference(
    overflowing: onnx.ModelProto, tmp_path: Path
) -> None:
    """Its own numbers are the weights: 1e-4 in float16 is 1.00017e-4."""
    path = tmp_path / "half.onnx"
    onnx.save(overflowing, path)
    x = np.array([[1.0, 10.0, -20.0]], np.float32)
    wanted = x * np.float32(1e4) * np.float32(np.float16(1e-4))
    (found,) = open_exactly(path, ["float16"])({"x": x}).values()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert np.abs(found - x).max() > 1e-3
    assert "float16" in read_graph(path).dtypes


def test_float16_in_a_function_is_computed_in_float32(tmp_path: Path) -> None:
    """Nothing outside the function tells of it."""
    third = numpy_helper.from_array(np.array(1 / 3, np.float16), "third")
    body = [
        helper.make_node("Constant", [], ["third"], value=third),
        helper.make_node("Cast", ["v"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["h", "third"], ["w"]),
        helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT),
    ]
    opsets = [helper.make_opsetid("", 20)]
    file = model(helper.make_node("Third", ["x"], ["y"], domain="own"), size=3)
    file.functions.append(helper.make_function("own", "Third", ["v"], ["f"], body, opsets))
    file.opset_import.append(helper.make_opsetid("own", 1))
    path = tmp_path / "function.onnx"
    onnx.save(file, path)
    x = np.array([[1, 1 + 2.0**-12, 7]], np.float32)
    (found,) = open_exactly(path, read_graph(path).dtypes)({"x": x}).values()
    third = np.float32(np.float16(1 / 3))
    np.testing.assert_allclose(found, [[third, third * (1 + 2.0**-12), 7 * third]], rtol=1e-7)


def test_a_float16_file_that_onnx_refuses_is_an_error(
    overflowing: onnx.ModelProto, tmp_path: Path
) -> None:
    overflowing.graph.initializer[0].raw_data = b"1"
    path = tmp_path / "half.onnx"
    onnx.save(overflowing, path)
    with pytest.raises(InputError, match=r"half\.onnx"):
        open_exactly(path, ["float16"])


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_other_floating_point_types_are_computed_in_float32(kind: int, tmp_path: Path) -> None:
    """ONNX Runtime has no convolution in either of them."""
    ends = [helper.make_tensor_value_info(name, kind, [1, 1, 5, 7]) for name in ("x", "y")]
    random = np.random.default_rng(1)
    numbers = np.round(random.standard_normal((1, 1, 3, 3)) * 16) / 16  # exact in every type
    weight = helper.make_tensor("w", kind, [1, 1, 3, 3], numbers.ravel().tolist())
    limits = {"low": 0.25, "high": 0.25}
    quarter = helper.make_node("RandomUniform", [], ["q"], dtype=kind, shape=[1], **limits)
    conv = helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1])
    add = helper.make_node("Add", ["c", "q"], ["y"])
    graph = helper.make_graph([quarter, conv, add], "test", ends[:1], ends[1:], [weight])
    opsets = [helper.make_opsetid("", 20)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    x = random.standard_normal((1, 1, 5, 7)).astype(np.float32)
    (found,) = open_exactly(path, read_graph(path).dtypes)({"x": x}).values()
    wanted = torch.conv2d(torch.from_numpy(x).double(), torch.from_numpy(numbers), padding=1)
    np.testing.assert_allclose(found, wanted.numpy() + 0.25, atol=1e-5)


def test_control_flow_runs_in_its_own_types(overflowing: onnx.ModelProto, tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["large"], ["inside"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inside", TensorProto.FLOAT16, [1, 3])],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    overflowing.graph.initializer.append(yes)
    choice = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    overflowing.graph.node.insert(2, choice)
    overflowing.graph.node[3].input[0] = "chosen"
    path = tmp_path / "half.onnx"
    onnx.save(overflowing, path)
    assert file_in_float32(path) is None
    x = np.array([[1.0, 2.0, -3.0]], np.float32)
    (found,) = open_exactly(path, ["float16"])({"x": x}).values()
    np.testing.assert_allclose(found, x, rtol=1e-3)
