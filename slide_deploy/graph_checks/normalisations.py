"""Normalisations: what each adds to the variance, and what the file declares.

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias

Epsilon is an attribute of the operator in every format, under two names. A wrong one deep inside a
network changes the logits less than rounding may change them, so that only a rule can see it. The
exporter declares how many normalisations there are of each epsilon: one that was written in other
operators, or left out, is missed then.
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
