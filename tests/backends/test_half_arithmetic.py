"""A file of float16 is run with the rounding that it says, though the processor has none."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from slide_deploy.backends.onnxruntime.half_arithmetic import has_float16, with_rounding


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
    assert np.array_equal(run(with_rounding(file), numbers), wanted, equal_nan=True)


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
    assert np.array_equal(np.isfinite(run(with_rounding(overflowing), x)), [[True, False, False]])


def test_a_float16_file_is_recognised(overflowing: onnx.ModelProto) -> None:
    assert has_float16(overflowing)
    assert not has_float16(with_rounding(overflowing))
