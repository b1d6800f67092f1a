"""Attention over tokens as an ONNX file, with or without the transposes of heads and tokens.

tokens first   (batch, tokens, heads, d), then a transpose (0, 2, 1, 3)
heads first    (batch, heads, tokens, d) right away, or by way of (batch, heads, d, tokens)
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """An attention: sizes, and which of its transposes it has."""

    heads: int
    tokens: int
    query: str  # "tokens first", "heads first" or "features first"
    transposed_result: bool
    values: str = "heads first"
    head_dim: int = 4
    batch: int = 2
    open_batch: bool = False

    @property
    def channels(self) -> int:
        return self.heads * self.head_dim


def write(case: Case, path: Path) -> Path:
    graph = _Graph(case)
    query = graph.heads("q", case.query)
    keys = graph.heads("k", "heads first")
    values = graph.heads("v", case.values)
    turned = graph.node("Transpose", [keys], perm=[0, 1, 3, 2])
    logits = graph.node("Mul", [graph.node("MatMul", [query, turned]), graph.constant(_SCALE)])
    weights = graph.node("Softmax", [logits], axis=-1)
    result = graph.node("MatMul", [weights, values])
    if case.transposed_result:
        result = graph.node("Transpose", [result], perm=[0, 2, 1, 3])
    onnx.save(graph.model(result), path)
    return path


def tokens(case: Case) -> Array:
    rng = np.random.default_rng(1)
    return rng.standard_normal((case.batch, case.tokens, case.channels)).astype(np.float32)


def answer(case: Case, x: Array) -> Array:
    """The expected output of the file, in float64."""
    heads = {name: _split(case, name, x) for name in "qkv"}
    logits = _SCALE * heads["q"] @ heads["k"].transpose(0, 1, 3, 2)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    result = weights / weights.sum(-1, keepdims=True) @ heads["v"]
    return result.transpose(0, 2, 1, 3) if case.transposed_result else result


_SCALE = np.float32(0.5)


def _weight(case: Case, name: str) -> Array:
    rng = np.random.default_rng("qkv".index(name))
    size = case.channels
    return (rng.standard_normal((size, size)) / size**0.5).astype(np.float32)


def _split(case: Case, name: str, x: Array) -> NDArray[np.float64]:
    """(batch, heads, tokens, d)."""
    projected = x.astype(np.float64) @ _weight(case, name)
    form = {"q": case.query, "k": "heads first", "v": case.values}[name]
    if form == "tokens first":
        split = projected.reshape(-1, case.tokens, case.heads, case.head_dim)
        return split.transpose(0, 2, 1, 3)
    if form == "features first":
        maps = projected.transpose(0, 2, 1)
        split = maps.reshape(-1, case.heads, case.head_dim, case.tokens)
        return split.transpose(0, 1, 3, 2)
    return projected.reshape(-1, case.heads, case.tokens, case.head_dim)


class _Graph:
    def __init__(self, case: Case) -> None:
        self.case = case
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: NDArray[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, operator: str, inputs: list[str], **attributes: object) -> str:
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def heads(self, name: str, form: str) -> str:
        case = self.case
        batch = -1 if case.open_batch else case.batch
        projected = self.node("MatMul", ["image", self.constant(_weight(case, name))])
        if form == "tokens first":
            shape, perm = [batch, case.tokens, case.heads, case.head_dim], [0, 2, 1, 3]
        elif form == "features first":
            projected = self.node("Transpose", [projected], perm=[0, 2, 1])
            shape, perm = [batch, case.heads, case.head_dim, case.tokens], [0, 1, 3, 2]
        else:
            shape, perm = [batch, case.heads, case.tokens, case.head_dim], []
        split = self.node("Reshape", [projected, self.constant(np.array(shape))])
        return self.node("Transpose", [split], perm=perm) if perm else split

    def model(self, result: str) -> onnx.ModelProto:
        case = self.case
        batch = "batch" if case.open_batch else case.batch
        self.nodes[-1].output[0] = "logits"
        sizes = [case.heads, case.tokens]
        shape = [batch, *(sizes[::-1] if case.transposed_result else sizes), case.head_dim]
        given = [batch, case.tokens, case.channels]
        graph = helper.make_graph(
            self.nodes,
            "attention",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, given)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
