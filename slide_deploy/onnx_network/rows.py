"""Let linear layers compute on tokens that a file has flattened to rows around them.

    Reshape (…, C) → (N, C)   Gemm   …             the reshape moves behind the layer
    Reshape to (N, C)   Gemm   Reshape to (…, O)   the second reshape moves in front of the layer

Reshapes that meet undo each other. Optimisers of ONNX files write rows because ``Gemm``, which adds
a bias, takes two axes only. A linear layer of PyTorch takes any number of axes.
"""

from collections.abc import MutableMapping
from dataclasses import replace

import numpy as np
from torch import nn

from slide_deploy.onnx_network.building import GraphParts
from slide_deploy.onnx_network.module import GraphStep, without_unused

Shapes = MutableMapping[str, tuple[int, ...]]

# Operators that compute each number from one number.
_POINTWISE = ("Gelu", "Relu", "LeakyRelu", "Sigmoid", "HardSwish", "Tanh", "Erf")


def unflatten_rows(parts: GraphParts, shapes: Shapes) -> None:
    """Remove the reshapes around linear layers, where the layers can do without.

    Args:
        parts: the graph; it is changed.
        shapes: shapes of its values in a run; shapes of new values are added.
    """
    rows = _Rows(parts, shapes)
    parts.steps = [each for step in parts.steps for each in rows.moved_behind(step)]
    parts.steps = without_unused(parts.steps, parts.outputs)
    _move_in_front(parts, shapes)
    parts.steps = without_unused(parts.steps, parts.outputs)


class _Rows:
    """Moves reshapes to rows behind the steps that read them, in the order of the graph.

    Attributes:
        tokens: for each value that has rows, the value with all axes.
        same: for each value that equals another one, that one.
    """

    def __init__(self, parts: GraphParts, shapes: Shapes) -> None:
        self.parts, self.shapes = parts, shapes
        self.tokens: dict[str, str] = {}
        self.same: dict[str, str] = {}

    def moved_behind(self, step: GraphStep) -> list[GraphStep]:
        """Return the steps that take the place of a step."""
        step = replace(step, inputs=tuple(self.same.get(name, name) for name in step.inputs))
        source = step.inputs[0] if step.inputs else ""
        given = self.shapes.get(step.outputs[0], ())
        if step.operator == "Reshape":
            if source in self.tokens and _has_known_sizes(self.parts, step):
                source = self.tokens[source]
                step = replace(step, inputs=(source, *step.inputs[1:]))
                if given == self.shapes[source] and step.outputs[0] not in self.parts.outputs:
                    self.same[step.outputs[0]] = source
            before = self.shapes.get(source, ())
            if len(before) > len(given) == 2 and before[-1] == given[-1]:
                self.tokens[step.outputs[0]] = source
            return [step]
        if source not in self.tokens or not self._is_by_row(step):
            return [step]
        name, sizes = f"{step.outputs[0]} tokens", f"{step.outputs[0]} rows"
        self.shapes[name] = (*self.shapes[self.tokens[source]][:-1], given[-1])
        self.parts.constants[sizes] = np.array([-1, given[-1]], np.int64)
        own = replace(step, inputs=(self.tokens[source], *step.inputs[1:]), outputs=(name,))
        self.tokens[step.outputs[0]] = name
        attributes = {"opset": 13, "outputs": 1}
        flat = GraphStep("Reshape", f"{step.name} rows", (name, sizes), step.outputs, attributes)
        return [own, flat]

    def _is_by_row(self, step: GraphStep) -> bool:
        layer = self.parts.layers.get(step.layer)
        return step.operator in _POINTWISE or isinstance(layer, nn.Linear | nn.LayerNorm)


def _has_known_sizes(parts: GraphParts, step: GraphStep) -> bool:
    """Whether a step reshapes to constant sizes, none of which is copied from its input."""
    sizes = parts.constants.get(step.inputs[1]) if step.operator == "Reshape" else None
    return isinstance(sizes, np.ndarray) and sizes.dtype != object and 0 not in sizes


def _move_in_front(parts: GraphParts, shapes: Shapes) -> None:
    """Move reshapes behind linear layers in front of them, where another reshape stands there."""
    producers = {name: step for step in parts.steps for name in step.outputs}
    readers: dict[str, list[GraphStep]] = {}
    for step in parts.steps:
        for name in step.inputs:
            readers.setdefault(name, []).append(step)
    replaced: dict[str, list[GraphStep]] = {}
    for call in parts.steps:
        layer, rows = parts.layers.get(call.layer), call.outputs[0]
        if not isinstance(layer, nn.Linear) or rows in parts.outputs:
            continue
        before, behind = producers.get(call.inputs[0]), readers.get(rows, [])
        if before is None or before.operator != "Reshape" or len(behind) != 1:
            continue
        last = shapes.get(behind[0].outputs[0], ())[-1:]
        if _has_known_sizes(parts, behind[0]) and last == (layer.out_features,):
            replaced[rows] = []
            replaced[behind[0].outputs[0]] = _in_front(parts, shapes, before, call, behind[0])
    parts.steps = [each for step in parts.steps for each in replaced.get(step.outputs[0], [step])]


def _in_front(
    parts: GraphParts, shapes: Shapes, before: GraphStep, call: GraphStep, behind: GraphStep
) -> list[GraphStep]:
    """Return one reshape in front of a layer, in place of two around it, and the layer."""
    layer = parts.layers[call.layer]
    assert isinstance(layer, nn.Linear)
    sizes = parts.constants[behind.inputs[1]]
    name, tokens = f"{behind.outputs[0]} sizes", f"{behind.outputs[0]} before"
    shapes[tokens] = (*shapes[behind.outputs[0]][:-1], layer.in_features)
    parts.constants[name] = np.array([*sizes[:-1], layer.in_features], np.int64)
    return [
        replace(behind, inputs=(before.inputs[0], name), outputs=(tokens,)),
        replace(call, inputs=(tokens,), outputs=behind.outputs),
    ]
