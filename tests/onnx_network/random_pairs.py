"""Random graphs with two convolutions that are added, which may or must not become one."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

# What keeps the two convolutions apart.
SPOILERS = (
    "read elsewhere",
    "output of the graph",
    "other padding",
    "other stride",
    "other dilation",
    "other groups",
    "other input",
    "a nonlinearity between",
    "a weight that depends on the input",
    "a factor that depends on the input",
)


class _Graph:
    """A graph as it is built, with one input of six channels."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self.opset = self.chance.choice((11, 13, 15, 17, 18, 20, 22))
        self.axes = self.chance.choice((1, 2, 2, 2, 3))
        # At this size a kernel of 3 gives the same output with padding 1 and stride 2 as with
        # padding 0 and stride 1.
        self.size = 5
        self.batch = self.chance.choice((1, 1, 2, "batch"))

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Add a node, and return the name of its output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        """Add an initialiser, a ``Constant`` node, or an initialiser behind ``Identity``."""
        name = f"c{len(self.stored) + len(self.nodes)}"
        tensor = numpy_helper.from_array(values, name)
        way = self.chance.choice(("stored", "stored", "node", "identity"))
        if way == "node":
            return self.node("Constant", value=tensor)
        self.stored.append(tensor)
        return self.node("Identity", name) if way == "identity" else name

    def normal(self, *shape: int) -> np.ndarray:
        return self.numbers.standard_normal(shape).astype(np.float32)

    def weight(self, groups: int, side: int) -> np.ndarray:
        return self.normal(6, 6 // groups, *([side] * self.axes))

    def conv(
        self,
        x: str,
        side: int,
        groups: int = 1,
        stride: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        weight: str = "",
    ) -> str:
        """Add a convolution, by default one that keeps the size."""
        padding = dilation * (side // 2) if padding is None else padding
        inputs = [x, weight or self.constant(self.weight(groups, side))]
        if self.chance.random() < 0.5:
            inputs.append(self.constant(self.normal(6)))
        return self.node(
            "Conv",
            *inputs,
            group=groups,
            kernel_shape=[side] * self.axes,
            strides=[stride] * self.axes,
            dilations=[dilation] * self.axes,
            pads=[padding] * 2 * self.axes,
        )

    def norm(self, x: str) -> str:
        scale, bias, mean = (self.constant(self.normal(6)) for _ in range(3))
        variance = self.constant(np.abs(self.normal(6)) + 0.5)
        return self.node("BatchNormalization", x, scale, bias, mean, variance)

    def padded(self, x: str, mode: str) -> str:
        """Pad every spatial axis by one on both sides."""
        ones = [0, 0, *([1] * self.axes)] * 2
        return self.node("Pad", x, self.constant(np.array(ones, np.int64)), mode=mode)

    def of_the_input(self, x: str) -> str:
        """A positive number for each sample and channel, (batch, 6, 1, …)."""
        return self.node("Sigmoid", self.node("GlobalAveragePool", x))

    def save(self, path: Path, *outputs: str) -> None:
        shape = (self.batch, 6, *([self.size] * self.axes))
        x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
        unknown = [None] * len(shape)
        made = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, unknown) for name in outputs
        ]
        graph = helper.make_graph(self.nodes, "pair", [x], made, self.stored)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an input to run the graph with."""
        batch = self.batch if isinstance(self.batch, int) else 3
        return (batch, 6, *([self.size] * self.axes))


def write(path: Path, seed: int, spoiler: str, is_spoilt: bool) -> tuple[int, ...]:
    """Write a graph, with what keeps its convolutions apart or without, and return a shape for it.

    Args:
        path: file to write.
        seed: with the same one, both graphs differ in the spoiler alone.
        spoiler: one of ``SPOILERS``.
        is_spoilt: whether the convolutions must not be merged.
    """
    graph = _Graph(seed)
    front: Callable[[str], str] = graph.chance.choice(
        (
            lambda x: x,
            lambda x: graph.node("Relu", x),
            lambda x: graph.node("Tanh", graph.conv(x, 3)),
        )
    )
    x = front("x")
    side, groups = graph.chance.choice((1, 3)), graph.chance.choice((1, 1, 2, 6))
    settings = {"groups": groups, "side": 3}
    one = other = ""
    if spoiler == "other dilation":
        # A kernel of 3 beside one of 3 that is dilated needs one of 5, which costs more than both;
        # along a single axis, 5 taps cost less than 6, but 7 do not.
        one = graph.conv(x, groups=groups, side=3 if is_spoilt else 5)
        dilation = 3 if is_spoilt and graph.axes == 1 else 2
        other = graph.conv(x, **settings, dilation=dilation)
    elif spoiler == "other groups":
        one = graph.conv(x, 3, groups=2)  # with groups of 3 channels, a dense kernel costs more
        other = graph.conv(x, 3, groups=3 if is_spoilt else graph.chance.choice((2, 6)))
    elif spoiler == "other stride":
        one = graph.conv(x, **settings, stride=2, padding=1)
        stride = {"stride": 1, "padding": 0} if is_spoilt else {"stride": 2, "padding": 1}
        other = graph.conv(x, **settings, **stride)
    elif spoiler == "other padding":
        one = graph.conv(x, **settings)
        mode = graph.chance.choice(("reflect", "edge")) if is_spoilt else "constant"
        other = graph.conv(graph.padded(x, mode), **settings, padding=0)
    elif spoiler == "other input":
        one = graph.conv(x, **settings)
        apart = graph.node(graph.chance.choice(("Abs", "Tanh")), x)
        other = graph.conv(apart if is_spoilt else x, side, groups=groups)
        if not is_spoilt:
            graph.nodes = [node for node in graph.nodes if apart not in node.output]
    elif spoiler == "a weight that depends on the input":
        one = graph.conv(x, **settings)
        weight = graph.constant(graph.weight(groups, 3))
        if is_spoilt:
            # One number for the whole batch: the mean over all axes.
            mean = graph.node("ReduceMean", x, keepdims=0)
            weight = graph.node("Mul", weight, mean)
        other = graph.conv(x, **settings, weight=weight)
    else:
        one, other = graph.conv(x, **settings), graph.conv(x, side, groups=groups)
    read = one
    if graph.chance.random() < 0.4 and not is_spoilt:  # it would merge with its convolution
        other = graph.norm(other)
    if is_spoilt and spoiler == "a nonlinearity between":
        other = graph.node(graph.chance.choice(("Relu", "Tanh", "Sigmoid")), other)
    if is_spoilt and spoiler == "a factor that depends on the input":
        other = graph.node("Mul", other, graph.of_the_input(x))
    joined = graph.chance.choice(("Add", "Sum", "Sub"))
    total = graph.node(joined, *graph.chance.choice(((one, other), (other, one))))
    back = graph.chance.choice((None, "Relu", "GlobalMaxPool"))
    total = graph.node(back, total) if back else total
    if is_spoilt and spoiler == "output of the graph":
        graph.save(path, *graph.chance.choice(((total, read), (read, total))))
    elif is_spoilt and spoiler == "read elsewhere":
        total = graph.node("Mul", total, graph.node("Sigmoid", read))
        graph.save(path, total)
    else:
        graph.save(path, total)
    return graph.shape
