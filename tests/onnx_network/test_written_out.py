"""Layer norms and GELUs that older opsets write out become one operator, in any order."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from slide_deploy.onnx_network.reading import read_model


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def __call__(
        self, operator: str, *inputs: str, swap: bool = False, **attributes: object
    ) -> str:
        name = f"value_{len(self.nodes)}"
        order = inputs[::-1] if swap else inputs
        self.nodes.append(helper.make_node(operator, order, [name], **attributes))
        return name

    def number(self, *values: float) -> str:
        name = f"constant_{len(self.stored)}"
        array = np.array(values if len(values) > 1 else values[0], np.float32)
        self.stored.append(numpy_helper.from_array(array, name))
        return name

    def size(self, *sizes: int) -> str:
        name = f"constant_{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
        return name

    def operators(self, path: Path) -> list[str]:
        """Save the graph, whose last node gives its output, and read it."""
        ends = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (2, 3))
            for name in ("x", self.nodes[-1].output[0])
        ]
        graph = helper.make_graph(self.nodes, "graph", ends[:1], ends[1:], self.stored)
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
        return [node.op_type for node in read_model(path).graph]


def _gelu(graph: _Graph, is_quotient: bool, place: int, swap: bool, half: float = 0.5) -> None:
    root = graph.number(math.sqrt(2 if is_quotient else 0.5))
    inner = graph("Div", "x", root) if is_quotient else graph("Mul", "x", root, swap=swap)
    grown = graph("Add", graph("Erf", inner), graph.number(1), swap=swap)
    factors = ["x", grown, graph.number(half)]
    last = factors.pop((1, 0, 2)[place])
    graph("Mul", graph("Mul", *factors, swap=swap), last, swap=swap)


@pytest.mark.parametrize(
    ("is_quotient", "place", "swap"), product((False, True), range(3), (False, True))
)
def test_a_gelu_in_any_order(is_quotient: bool, place: int, swap: bool, tmp_path: Path) -> None:
    graph = _Graph()
    _gelu(graph, is_quotient, place, swap)
    assert graph.operators(tmp_path / "gelu.onnx") == ["Gelu"]


def test_another_factor_is_no_gelu(tmp_path: Path) -> None:
    graph = _Graph()
    _gelu(graph, True, 1, False, half=0.51)
    assert "Gelu" not in graph.operators(tmp_path / "other.onnx")


def _norm(
    graph: _Graph, is_power: bool, is_quotient: bool, axis: int = -1, hide: bool = False
) -> None:
    apart = graph("Sub", "x", graph("ReduceMean", "x", axes=[axis]))
    square = graph("Pow", apart, graph.number(2)) if is_power else graph("Mul", apart, apart)
    total = graph("Add", graph("ReduceMean", square, axes=[axis]), graph.number(1e-5))
    deviation = graph("Sqrt", total)
    if is_quotient:
        normal = graph("Div", apart, deviation)
    else:
        normal = graph("Mul", apart, graph("Reciprocal", deviation))
    scale = graph.number(1, 2, 3)
    if hide:
        scale = graph("Reshape", graph("Cast", scale, to=onnx.TensorProto.FLOAT), graph.size(3))
    graph("Add", graph("Mul", normal, scale), graph.number(4, 5, 6))


@pytest.mark.parametrize(("is_power", "is_quotient"), product((False, True), repeat=2))
def test_a_layer_norm_in_any_form(is_power: bool, is_quotient: bool, tmp_path: Path) -> None:
    graph = _Graph()
    _norm(graph, is_power, is_quotient)
    assert graph.operators(tmp_path / "norm.onnx") == ["LayerNormalization"]


def test_a_layer_norm_with_a_scale_behind_other_operators(tmp_path: Path) -> None:
    graph = _Graph()
    _norm(graph, True, True, hide=True)
    assert [each for each in graph.operators(tmp_path / "norm.onnx") if each != "Reshape"] == [
        "Cast",
        "LayerNormalization",
    ]


def test_a_norm_over_another_axis_is_left(tmp_path: Path) -> None:
    graph = _Graph()
    _norm(graph, True, True, axis=0)
    assert "LayerNormalization" not in graph.operators(tmp_path / "other.onnx")
