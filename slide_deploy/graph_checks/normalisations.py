"""Normalisations: what each adds to the variance, and what the file declares.

    y = (x - mean) / sqrt(variance + epsilon) * weight + bias

Epsilon is an attribute of the operator in every format, under two names. In slide stages on maps
(``lowerings.map_stages``) it is the bias of the convolution that computes the mean of the squares.
A wrong one deep inside a network changes the logits less than rounding may change them, so that
only a rule can see it. The exporter declares how many normalisations there are of each epsilon: one
that was written in other operators, or left out, is missed then.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from slide_deploy.graph_checks.declarations import read_entries
from slide_deploy.graph_checks.graph import Attribute, Graph, Node
from slide_deploy.graph_checks.readers.limits import MAX_NODES

NORMALISATIONS_KEY = "slide_deploy.normalisations"


@dataclass(frozen=True)
class Normalisation:
    """One normalisation.

    Attributes:
        node: where it is in the graph.
        epsilon: as the file holds it; None if it holds no number.
        under_root: whether epsilon is added to the variance, not to the deviation.
        parts: its convolutions, where it is written out.
    """

    node: Node
    epsilon: float | None
    under_root: bool
    parts: tuple[Node, ...] = ()


def normalisations(graph: Graph) -> Iterator[Normalisation]:
    """Every operator of a graph that normalises, in the order of the file."""
    attributes = graph.dialect.epsilons
    for node in graph.nodes:
        if node.operator in attributes:
            held = node.attributes.get(attributes[node.operator], graph.dialect.default_epsilon)
            mode = str(node.attributes.get("eps_mode", "inside_sqrt"))  # of OpenVINO's MVN
            yield Normalisation(node, _number(held), mode.lower() == "inside_sqrt")
        elif node.operator == graph.dialect.square_root:
            written_out = _of_maps(graph, node)
            if written_out is not None:
                yield written_out


def _of_maps(graph: Graph, root: Node) -> Normalisation | None:
    """The normalisation of maps whose deviation an operator computes; None if it is none.

    sqrt(mean(y^2) + epsilon), in patch merging sqrt(mean(y^2) + epsilon + mean(d^2)). Whether y is
    centred is not looked at: verification sees that.
    """
    variance = _producer(graph, root)
    if variance is None:
        return None
    terms = [variance]
    if variance.operator == "Add":
        terms = [term for place in (0, 1) if (term := _producer(graph, variance, place))]
    for power in terms:
        square = _producer(graph, power)
        if square is not None and _is_square(square) and _is_mean(graph, power):
            parts = (*terms, *_around(graph, root, square))
            return Normalisation(root, _constant(graph, power.inputs[2]), True, parts)
    return None


def _around(graph: Graph, root: Node, square: Node) -> Iterator[Node]:
    """The other convolutions of a normalisation of maps, where they are as the exporter writes."""
    # From the quotient back to all channels.
    for reciprocal in _consumers(graph, root):
        yield from _convolutions(_consumers(graph, reciprocal))
    # The mean, and back.
    centred = _producer(graph, square)
    for place in (0, 1) if centred is not None and centred.operator == "Add" else ():
        off = _producer(graph, centred, place)
        mean = None if off is None else _producer(graph, off)
        if off is not None and mean is not None and _is_mean(graph, mean, inputs=2):
            yield from (off, mean)
            # What the means of four positions differ by, which patch merging adds as well.
            for differences in _convolutions(_consumers(graph, mean)):
                behind = _consumers(graph, differences)
                if any(_is_square(node) for node in behind):
                    yield from (differences, *_convolutions(behind))


def _convolutions(nodes: Iterable[Node]) -> Iterator[Node]:
    return (node for node in nodes if node.operator == "Conv")


def _consumers(graph: Graph, node: Node) -> list[Node]:
    return [reader for name in node.outputs for reader in graph.consumers.get(name, ())]


def _producer(graph: Graph, node: Node | None, place: int = 0) -> Node | None:
    if node is None or len(node.inputs) <= place:
        return None
    return graph.producers.get(node.inputs[place])


def _is_square(node: Node) -> bool:
    return node.operator == "Mul" and len(node.inputs) == 2 and len(set(node.inputs)) == 1


def _is_mean(graph: Graph, node: Node, inputs: int = 3) -> bool:
    """Whether it is a convolution that answers the mean of what it reads; a bias is an input."""
    if node.operator != "Conv" or len(node.inputs) != inputs:
        return False
    weight = graph.constants.get(node.inputs[1])
    numbers = None if weight is None else weight.array()
    if numbers is None or not numbers.size or not np.issubdtype(numbers.dtype, np.floating):
        return False
    return bool(np.all(numbers == np.asarray(1 / numbers.size).astype(numbers.dtype)))


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
