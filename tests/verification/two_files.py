"""Small ONNX files that are compared with each other."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = tuple[int | str, ...]
IMAGE: Shape = ("batch", 3, 12, 12)
_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
}


def node(operator: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[str, Shape]],
    outputs: dict[str, str],
    metadata: dict[str, str] | None = None,
    **weights: np.ndarray,
) -> Path:
    """Write a file. Inputs have a type and a shape; outputs a type."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(n, _TYPES[t], shape) for n, (t, shape) in inputs.items()],
        [helper.make_tensor_value_info(n, _TYPES[t], None) for n, t in outputs.items()],
        [numpy_helper.from_array(each, name) for name, each in weights.items()],
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    helper.set_model_props(model, metadata or {})
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "w": draw.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "b": draw.standard_normal(8).astype(np.float32),
        "head": draw.standard_normal((8, 5)).astype(np.float32),
        "none": np.zeros((1, 1, 12, 12), np.float32),
    }


def network(
    path: Path,
    weights: dict[str, np.ndarray] | None = None,
    *,
    image: str = "image",
    shape: Shape = IMAGE,
    outputs: tuple[str, str] = ("map", "logits"),
    padding: str = "constant",
) -> Path:
    """A file with two outputs: a feature map (batch, 8, 12, 12) and logits (batch, 5)."""
    nodes = [
        node("Pad", f"{image} amounts", "padded", mode=padding),
        node("Conv", "padded w b", "convolved"),
        node("Relu", "convolved", "positive"),
        node("Add", "positive none", outputs[0]),
        node("ReduceMean", f"{outputs[0]} axes", "mean", keepdims=0),
        node("MatMul", "mean head", outputs[1]),
    ]
    fixed = {
        "amounts": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "axes": np.array([2, 3]),
    }
    return save(
        path,
        nodes,
        {image: ("float32", shape)},
        dict.fromkeys(outputs, "float32"),
        **fixed,
        **(weights or random_weights()),
    )
