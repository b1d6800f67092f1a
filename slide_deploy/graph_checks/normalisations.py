"""Normalisations: what each adds to the variance, and what the file declares.

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias

Epsilon is an attribute of the operator in every format, under two names. In slide stages on maps
(``lowerings.map_stages``) it is the bias of the convolution that computes the mean of the squares.
A wrong one deep inside a network changes the logits less than rounding may change them, so that
only a rule can see it. The exporter declares how many normalisations there are of each epsilon: one
that was written in other operators, or left out, is missed then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from slide_deploy.graph_checks.declarations import read_entries
from slide_deploy.graph_checks.graph import Attribute, Format, Graph, Node
from slide_deploy.graph_checks.readers.limits import MAX_NODES

NORMALISATIONS_KEY = "slide_deploy.normalisations"

_ATTRIBUTES: Mapping[Format, Mapping[str, str]] = {
    "onnx": dict.fromkeys(
        (
            "BatchNormalization",
            "GroupNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "RMSNormalization",
        ),
        "epsilon",
    ),
    "openvino": {"BatchNormInference": "epsilon", "MVN": "eps"},
    "coreml": dict.fromkeys(("batch_norm", "instance_norm", "layer_norm"), "epsilon"),
}
# ONNX defines it for all five. Where the other formats leave it out there is no number to read: it
# may be computed, or stand in the weight file.
_ONNX_DEFAULT = 1e-5


@dataclass(frozen=True)
class Normalisation:
    """One normalisation.

    Attributes:
        node: where it is in the graph.
        epsilon: as the file holds it; None if it holds no number.
        under_root: whether epsilon is added to the variance, not to the deviation.
    """

    node: Node
    epsilon: float | None
    under_root: bool


def normalisations(graph: Graph) -> Iterator[Normalisation]:
    """Every operator of a graph that normalises, in the order of the file."""
    attributes = _ATTRIBUTES[graph.format]
    for node in graph.nodes:
        if node.operator in attributes:
            default = _ONNX_DEFAULT if graph.format == "onnx" else None
            held = node.attributes.get(attributes[node.operator], default)
            mode = str(node.attributes.get("eps_mode", "inside_sqrt"))  # of OpenVINO's MVN
            yield Normalisation(node, _number(held), mode.lower() == "inside_sqrt")
        elif graph.format == "onnx" and node.operator == "Sqrt":
            written_out = _of_maps(graph, node)
            if written_out is not None:
                yield written_out


def _of_maps(graph: Graph, root: Node) -> Normalisation | None:
    """The normalisation of maps whose deviation an operator computes; None if it is none.

    sqrt(mean(x^2) + epsilon), or sqrt(max(mean(x^2) + epsilon - mean(x)^2, epsilon))
    """
    node = graph.producers.get(root.inputs[0])
    least = None
    if node is not None and node.operator == "Clip" and len(node.inputs) > 1:
        least = _constant(graph, node.inputs[1])
        node = graph.producers.get(node.inputs[0])
    if node is not None and node.operator == "Sub":
        node = graph.producers.get(node.inputs[0])
    if node is None or node.operator != "Conv" or len(node.inputs) != 3:
        return None
    square = graph.producers.get(node.inputs[0])
    if square is None or square.operator != "Mul" or len(set(square.inputs)) != 1:
        return None
    weight = graph.constants.get(node.inputs[1])
    numbers = None if weight is None else weight.array()
    bias = _constant(graph, node.inputs[2])
    if numbers is None or bias is None or not np.all(numbers == np.float32(1 / numbers.size)):
        return None
    return Normalisation(root, bias if least in (None, bias) else least, under_root=True)


def _constant(graph: Graph, name: str) -> float | None:
    """The one number of a constant; None if it is no constant, or holds several."""
    constant = graph.constants.get(name)
    held = None if constant is None or constant.elements != 1 else constant.array()
    return None if held is None else float(held.item())


def _number(held: Attribute | None) -> float | None:
    if isinstance(held, int | float) and not isinstance(held, bool):
        return float(held)
    return None


def same_epsilon(stored: float, wanted: float) -> bool:
    """Whether a stored epsilon is the wanted one, rounded at most to float32 or float16.

    Converters store it in the type in which the operator computes, and round to nearest: 1e-5 is
    9.99999975e-06 in float32 and 1.00136e-05 in float16. Rounding is all that may happen to it, so
    there is no tolerance. Decimal texts get by, since they are rounded to float32 here.
    """
    with np.errstate(over="ignore"):
        single = np.float32(stored)
        return bool(single > 0 and single in (np.float32(wanted), np.float32(np.float16(wanted))))


def read_normalisations(metadata: Mapping[str, str]) -> Mapping[float, int] | None:
    """How many normalisations of each epsilon a file declares; None if it declares none.

    Raises:
        ValueError: the text is not the JSON list that the exporters write; its text is a clause.
    """
    text = metadata.get(NORMALISATIONS_KEY)
    if text is None:
        return None
    declared: dict[float, int] = {}
    for entry in read_entries(text):
        epsilon, count = entry.get("epsilon"), entry.get("count")
        if not isinstance(epsilon, float) or not 0 < epsilon < 1:
            raise ValueError("has an entry without an epsilon between 0 and 1")
        if type(count) is not int or not 0 < count <= MAX_NODES:
            raise ValueError(f"says no count for the epsilon {epsilon:g}")
        if epsilon in declared:
            raise ValueError(f"counts the epsilon {epsilon:g} twice")
        declared[epsilon] = count
    return declared
