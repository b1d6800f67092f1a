"""The numbers of a file have the precision that the file claims.

Told by the weights of convolutions and matrix products, behind casts:

    float32    none has 16 bits, and no value and no other constant has either
    float16    all have 16 bits
    mixed      some have, some have not

``slide_deploy.precisions`` has the widths of each. These three allow no numbers of low precision:
a quantiser copies the claim of the file that it reads. A precision of narrower weights must have
some.
"""

from collections import Counter
from collections.abc import Iterator

from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.graph_checks.graph import Constant, Graph
from slide_deploy.graph_checks.graph_walks import LONGEST_WALK
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.low_precision import (
    integer_weights,
    quantising_operators,
    rounded_values,
    small_floats,
)
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.precisions import Precision, known_precisions

_HALF = ("float16", "bfloat16")
_QUANTISED = (
    f"Use the file as it was exported, or remove {PRECISION_KEY} from the metadata of the "
    f"quantised file and prove its answers anew."
)
_WEIGHTED = (Kind.CONVOLUTION, Kind.PRODUCT, Kind.LINEAR)


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    claimed = graph.metadata.get(PRECISION_KEY)
    if claimed is None:
        return
    known = {precision.name: precision for precision in known_precisions()}
    if claimed not in known:
        yield RULE.broken(f"The file claims {claimed}; known are {', '.join(known)}.")
        return
    precision, low = known[claimed], list(_low_precision(graph, claimed))
    if not precision.is_quantised:
        yield from _widths(graph, precision)
        yield from low
    elif not low:
        yield RULE.broken(f"The file claims {claimed}; none of its numbers is of low precision.")


def _widths(graph: Graph, precision: Precision) -> Iterator[Violation]:
    """Weights and values that are wider or narrower than the precision says."""
    bits = [16 if weight.dtype in _HALF else 32 for weight in _weights(graph)]
    if bits and set(bits) != precision.weight_bits:
        yield RULE.broken(
            f"The file claims {precision.name}; {bits.count(16)} of its {len(bits)} weights have "
            f"16 bits."
        )
    if 16 not in precision.weight_bits:
        yield from _narrow_values(graph, precision.name)


def _low_precision(graph: Graph, claimed: str) -> Iterator[Violation]:
    """What a quantiser leaves, each kind of trace told once."""
    operators = quantising_operators(graph)
    if operators:
        yield _quantised(f"{_listed(operators)} compute in low precision", claimed)
    floats = small_floats(graph)
    if floats:
        yield _quantised(f"{_listed(floats)} are among its numbers", claimed)
    weights = integer_weights(graph)
    if weights:
        kinds = _listed(Counter(weight.dtype for weight in weights))
        yield _quantised(f"{kinds} are stored as weights", claimed, weights[0].name)
    rounded = rounded_values(graph)
    if rounded and not operators:
        kinds = _listed(Counter(node.operator for node in rounded))
        yield _quantised(f"{kinds} read numbers cast to integers", claimed, rounded[0].name)


def _quantised(what: str, claimed: str, node: str = "") -> Violation:
    return RULE.broken(f"{what}, and the file claims {claimed}.", node, remedy=_QUANTISED)


def _listed(counts: Counter[str]) -> str:
    """``20 MatMulInteger, 13 ConvInteger``: the most frequent first."""
    shown = [f"{count} {name}" for name, count in counts.most_common(4)]
    return ", ".join(shown) + (" and others" if len(counts) > len(shown) else "")


def _weights(graph: Graph) -> Iterator[Constant]:
    """The weight of every convolution and matrix product that has a constant one."""
    for node in graph.nodes:
        if kind_of(graph, node) in _WEIGHTED and len(node.inputs) > 1:
            weight = graph.constants.get(_before_casts(graph, node.inputs[1]))
            if weight is not None:
                yield weight


def _before_casts(graph: Graph, name: str) -> str:
    for _ in range(LONGEST_WALK):
        node = graph.producers.get(name)
        if node is None or not node.inputs or kind_of(graph, node) is not Kind.CAST:
            break
        name = node.inputs[0]
    return name


def _narrow_values(graph: Graph, claimed: str) -> Iterator[Violation]:
    for constant in graph.constants.values():
        if constant.dtype in _HALF:
            yield RULE.broken(
                f"This constant is {constant.dtype}, and the file claims {claimed}.", constant.name
            )
    for node in graph.nodes:
        for name in node.outputs:
            if name in graph.values and graph.values[name].dtype in _HALF:
                yield RULE.broken(
                    f"{node.operator} computes {graph.values[name].dtype}, and the file claims "
                    f"{claimed}.",
                    name,
                )


RULE = Rule(
    id="SD021",
    name="Precision",
    title="Weights and values have the precision that the file claims.",
    reason="A cast that slipped in costs digits in one place, and a claim of less precision "
    "excuses answers that are wrong.",
    remedy="Export the model again in the precision that is meant.",
    check=_check,
)
