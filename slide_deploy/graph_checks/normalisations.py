"""The epsilons of normalisations: in the graph, and as the file declares them.

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias

In an operator, epsilon is an attribute, whose name depends on the format. In a normalisation that
is written out, it is a constant in the sum under the root, or the bias of the convolution that
computes the mean of the squares of an NCHW feature map (``layouts.normalisation``). A wrong epsilon
deep inside a network changes the outputs less than rounding may, so only a rule can find it. The
exporter declares how many normalisations there are of each epsilon, so a normalisation that was
left out, or written in unrecognised operators, shows as missing.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from slide_deploy.graph_checks.census import Count
from slide_deploy.graph_checks.declarations import is_count, read_entries
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Attribute, Graph, Node, kind_of
from slide_deploy.graph_checks.readers.limits import MAX_NODES

NORMALISATIONS_KEY = "slide_deploy.normalisations"
_ROOTS = ("sqrt", "rsqrt")
_HALF = (0.5, -0.5)


@dataclass(frozen=True)
class Normalisation:
    """One normalisation.

    Attributes:
        node: its node in the graph; the root if it is written out.
        epsilon: as stored; None if the file holds no number.
        under_root: whether epsilon is added to the variance, not to the standard deviation.
        is_operator: whether its variance and epsilon are recognised beyond doubt: it is one
            operator, or computes the mean of squares by a convolution. A constant in a sum under a
            root need not be an epsilon.
    """

    node: Node
    epsilon: float | None
    under_root: bool = True
    is_operator: bool = True


def normalisations(graph: Graph) -> Iterator[Normalisation]:
    """Yield every normalisation of a graph, in the order of the file."""
    attributes = graph.dialect.epsilons
    for node in graph.nodes:
        if node.operator in attributes:
            if _normalises(graph, node):
                held = node.attributes.get(attributes[node.operator], graph.dialect.default_epsilon)
                mode = str(node.attributes.get("eps_mode", "inside_sqrt"))  # of OpenVINO's MVN
                yield Normalisation(node, _number(held), mode.lower() == "inside_sqrt")
        elif _is_root(graph, node):
            yield from _under_root(graph, node)


def _normalises(graph: Graph, node: Node) -> bool:
    """Whether an operator normalises; Core ML also writes a x + b as a batch norm."""
    if node.operator != graph.dialect.affine_norm or len(node.inputs) < 3:
        return True
    held = [graph.constants.get(name) for name in node.inputs[-2:]]
    statistics = [constant.array() for constant in held if constant is not None]
    return not all(
        numbers is not None and bool(np.all(numbers == wanted))
        for numbers, wanted in zip(statistics, (0, 1), strict=False)
    )


def _is_root(graph: Graph, node: Node) -> bool:
    """Whether a node computes x^(1/2) or x^(-1/2)."""
    if node.operator.lower() in _ROOTS:
        return True
    return (
        node.operator.lower() in ("pow", "power")
        and len(node.inputs) > 1
        and graph.number(node.inputs[1]) in _HALF
    )


def _under_root(graph: Graph, root: Node) -> Iterator[Normalisation]:
    """Yield the normalisation that is written out around a root, if there is one.

    It is sqrt(variance + epsilon), where epsilon is a constant or the bias of the convolution that
    computes the mean of the squares.
    """
    variance = _producer(graph, root)
    if variance is not None and kind_of(graph, variance) is Kind.RESHAPE:
        variance = _producer(graph, variance)  # the reshape restores the axis of the mean
    if variance is None:
        return
    if kind_of(graph, variance) is Kind.ADD:
        for name in variance.inputs:
            epsilon = graph.number(name)
            if epsilon is not None and 0 < epsilon < 1:
                yield Normalisation(root, epsilon, is_operator=False)
                return
    square = _producer(graph, variance)
    if square is not None and _is_square(square) and _is_mean(graph, variance):
        yield Normalisation(root, graph.number(variance.inputs[2]))


def _producer(graph: Graph, node: Node) -> Node | None:
    return graph.producers.get(node.inputs[0]) if node.inputs else None


def _is_square(node: Node) -> bool:
    is_product = node.operator in ("Mul", "Multiply", "mul") and len(node.inputs) == 2
    return is_product and len(set(node.inputs)) == 1


def _is_mean(graph: Graph, node: Node) -> bool:
    """Whether a node is a convolution with a bias that computes the mean of its inputs."""
    if kind_of(graph, node) is not Kind.CONVOLUTION or len(node.inputs) != 3:
        return False
    numbers = graph.array(node.inputs[1])
    if numbers is None or not numbers.size or not np.issubdtype(numbers.dtype, np.floating):
        return False
    return bool(np.all(numbers == np.asarray(1 / numbers.size).astype(numbers.dtype)))


def _number(held: Attribute | None) -> float | None:
    if isinstance(held, int | float) and not isinstance(held, bool):
        return float(held)
    return None


def same_epsilon(stored: float, wanted: float) -> bool:
    """Whether a stored epsilon equals the wanted one, as it is or rounded to float32 or float16.

    Converters store it in the type in which the operator computes, and round to nearest: 1e-5 is
    9.99999975e-06 in float32 and 1.00136e-05 in float16. Nothing but rounding may change it, so
    there is no tolerance. Decimal text also compares equal, because it is rounded to float32 here.
    """
    with np.errstate(over="ignore"):
        single = np.float32(stored)
        return bool(single > 0 and single in (np.float32(wanted), np.float32(np.float16(wanted))))


def normalisations_text(declared: Mapping[float, Count]) -> str:
    """The declaration as JSON text."""
    entries = [
        {"epsilon": epsilon, "count": each.least, "most": each.most}
        for epsilon, each in declared.items()
    ]
    return json.dumps(entries)


def read_normalisations(metadata: Mapping[str, str]) -> Mapping[float, Count] | None:
    """The declared number of normalisations of each epsilon; None if the file declares none.

    Raises:
        ValueError: the exporters do not write such a text. The message is a clause whose subject is
            the metadata entry.
    """
    text = metadata.get(NORMALISATIONS_KEY)
    if text is None:
        return None
    declared: dict[float, Count] = {}
    for entry in read_entries(text):
        epsilon, least = entry.get("epsilon"), entry.get("count")
        most = entry.get("most", least)
        if not isinstance(epsilon, float) or not 0 < epsilon < 1:
            raise ValueError("has an entry without an epsilon between 0 and 1")
        if not is_count(most, MAX_NODES, 1) or not is_count(least, most):
            raise ValueError(f"has no valid count for the epsilon {epsilon:g}")
        if epsilon in declared:
            raise ValueError(f"counts the epsilon {epsilon:g} twice")
        declared[epsilon] = Count(least, most)
    return declared
