"""A quantised graph as a float graph.

Rules about the network (operators that mix channels, attentions, normalisations) check this graph.
Rules about the file check the graph as stored.

    weights     constants and the operators that dequantise them become one float constant
    values      operators that round activations (QuantizeLinear and DequantizeLinear, FakeQuantize)
                are left out
    operators   that compute with integers stay as they are
"""

from collections.abc import Container
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import Constant, Graph, Node, elements_of, fixed
from slide_deploy.graph_checks.stored_weights import StoredWeight, stored_weights


def in_floats(graph: Graph) -> Graph:
    """The same network without low-precision numbers; the graph itself if it has none."""
    weights = stored_weights(graph)
    passed = _passed(graph, weights)
    if not weights and not passed:
        return graph
    outputs = {value.name for value in graph.outputs}
    left_out = weights.keys() | passed.keys()
    nodes = tuple(
        replace(node, inputs=tuple(passed.get(name, name) for name in _read(graph, node)))
        for node in graph.nodes
        if not left_out.intersection(node.outputs)
    )
    read = outputs.union(*(node.inputs for node in nodes))
    constants = {
        name: constant
        for name, constant in graph.constants.items()
        if name in read or name not in graph.consumers
    }
    constants |= {name: _dense(weights[name]) for name in weights if name in read}
    return replace(graph, nodes=nodes, constants=constants)


def _read(graph: Graph, node: Node) -> tuple[str, ...]:
    """The inputs of a node; for one that rounds an output of the graph, without scale and zero."""
    return node.inputs[:1] if node.operator in graph.dialect.rounding else node.inputs


def rounding(graph: Graph) -> tuple[Node, ...]:
    """The operators that quantise or dequantise activations."""
    weights = stored_weights(graph)
    return tuple(
        node
        for node in graph.nodes
        if node.operator in graph.dialect.rounding and not set(node.outputs) & weights.keys()
    )


def _passed(graph: Graph, weights: Container[str]) -> dict[str, str]:
    """The unrounded value for each rounded one, by name; outputs of the graph are kept."""
    outputs = {value.name for value in graph.outputs}
    passed: dict[str, str] = {}
    for node in graph.order:
        if node.operator not in graph.dialect.rounding or len(node.outputs) != 1:
            continue
        name = node.outputs[0]
        if node.inputs and name not in outputs and name not in weights:
            passed[name] = passed.get(node.inputs[0], node.inputs[0])
    return passed


def _dense(weight: StoredWeight) -> Constant:
    """A weight as a float constant, whose numbers are computed when a rule reads them."""
    shape = fixed(weight.shape) or ()

    def load() -> NDArray[np.uint8]:
        try:
            floats = np.ascontiguousarray(weight.expand(), np.float32)
        except (ValueError, IndexError):  # SD022 reports it
            floats = np.full(shape, np.nan, np.float32)
        return floats.reshape(-1).view(np.uint8)

    parts = [weight.data, *weight.scales, *weight.zeros]
    parts += [weight.palette] if weight.palette is not None else []
    source = " ".join(part.source for part in parts)
    return Constant(weight.name, "float32", shape, 4 * elements_of(shape), source, load)
