"""SD016: no operator copies every neighbourhood of a feature map.

Folding exists to avoid this copy. It takes four forms: an unfold operator; a gather of an
activation with a table of indices; any gather that enlarges an activation; and a dense convolution
whose kernel only copies, which Core ML's converter writes for ``F.unfold``. The census states
whether the network itself copies neighbours; then the rule does not apply.
"""

from collections.abc import Iterator

import numpy as np

from slide_deploy.graph_checks.census import valid_census
from slide_deploy.graph_checks.convolutions import Convolution, convolutions
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, elements_of, kind_of
from slide_deploy.graph_checks.graph_walks import constant_values
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.shapes import Known, at_batch_one

_TABLE_RANK = 2


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if policy.structure.unfold or valid_census(graph.metadata).copies:
        return
    known, constant = at_batch_one(graph), constant_values(graph)
    for node in graph.nodes:
        kind = kind_of(graph, node)
        if kind is Kind.UNFOLD:
            yield RULE.broken(f"{node.operator} copies every neighbourhood.", node.name)
        elif kind is Kind.GATHER and len(node.inputs) > 1 and node.inputs[0] not in constant:
            message = _gathered(graph, node, known)
            if message:
                yield RULE.broken(message, node.name)
    for found in convolutions(graph):
        if _only_copies(graph, found):
            yield RULE.broken(
                "This dense convolution only copies neighbours, which makes it an unfold.",
                found.node.name,
            )


def _gathered(graph: Graph, node: Node, known: Known) -> str:
    source, result = known.get(node.inputs[0]), known.get(node.outputs[0] if node.outputs else "")
    if source is not None and result is not None and elements_of(result) > elements_of(source):
        return f"Gathers {elements_of(result)} elements from {elements_of(source)}."
    indices = graph.shape(node.inputs[1]) or ()
    if len(indices) >= _TABLE_RANK and node.operator == graph.dialect.gather:
        return "Gathers from an activation with a table of indices."
    return ""


def _only_copies(graph: Graph, found: Convolution) -> bool:
    """Whether a dense convolution has one weight of 1 for each output and 0 elsewhere."""
    if found.groups > 1 or max(found.kernel) == 1 or found.outputs <= found.inputs_per_group:
        return False
    array = graph.array(found.node.inputs[1])
    if array is None or array.dtype.kind != "f":
        return False
    rows = np.asarray(array, dtype=array.dtype).reshape(found.outputs, -1)
    return bool(np.all((rows == 0) | (rows == 1)) and np.all(np.count_nonzero(rows, axis=1) == 1))


RULE = Rule(
    id="SD016",
    name="Unfold",
    title="No operator copies every neighbourhood of a feature map.",
    reason="An unfold multiplies memory traffic by the number of offsets; slide attention exists "
    "to avoid it.",
    remedy="Export the folded model with slide-deploy, whose lowerings read neighbours in place.",
    check=_check,
    in_floats=True,
)
