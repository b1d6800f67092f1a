"""SD002: declared shapes are those that the operators compute.

Readers of OpenVINO IR and Core ML packages use the shapes that the file declares. Where this
package can compute a shape itself (see ``shapes``), the two must agree, because the other rules
rely on it. The ONNX reader computes shapes and types itself and keeps the declared ones apart.
"""

from collections.abc import Iterator, Sequence

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import (
    Dimension,
    Graph,
    Node,
    Value,
    elements_of,
    kind_of,
)
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.shapes import (
    Known,
    at_batch_one,
    computed,
    integer_parameters,
    misfit,
)


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    known = at_batch_one(graph)
    for node in graph.nodes:
        message = misfit(graph, node, known)
        if not message and node.outputs and graph.shape(node.outputs[0]) is not None:
            message = _disagreement(graph, node, known)
        if message:
            yield RULE.broken(message, node.name)
    for constant in graph.constants.values():
        value = graph.values.get(constant.name)
        if value is not None and value.shape is not None and value.shape != constant.shape:
            yield RULE.broken(
                f"Is declared as {value.shape} and stored as {constant.shape}.", constant.name
            )
    for name, declared in graph.declared.items():
        if not _agree(declared, graph.values[name]):
            yield RULE.broken(
                f"Is declared as {_written(declared)}, and its operator computes "
                f"{_written(graph.values[name])}.",
                name,
            )


def _disagreement(graph: Graph, node: Node, known: Known) -> str:
    declared = graph.shape(node.outputs[0]) or ()
    shape = computed(graph, node, known)
    if shape is not None:
        fits = _fit(shape, declared)
        return "" if fits else f"Declares {declared}, and its inputs result in {shape}."
    if kind_of(graph, node) is not Kind.RESHAPE or node.inputs[:1] == () or len(node.outputs) > 1:
        return ""
    source, target = known.get(node.inputs[0]), known.get(node.outputs[0])
    if source is None or target is None or elements_of(source) == elements_of(target):
        return _pattern_disagreement(graph, node)
    return f"Reshapes {source} to {target}, which has another number of elements."


def _pattern_disagreement(graph: Graph, node: Node) -> str:
    """How the constant target of a reshape differs from the declared shape; empty if it fits."""
    if node.operator.lower() != "reshape":
        return ""
    pattern = integer_parameters(graph, node, graph.dialect.pattern)
    declared = graph.shape(node.outputs[0])
    if pattern is None or declared is None:
        return ""
    fits = _fit([size if size > 0 else None for size in pattern], declared)
    return "" if fits else f"Declares {declared} and reshapes to {pattern}."


def _agree(declared: Value, computed: Value) -> bool:
    """Whether declared and computed type and shape are compatible."""
    if "undefined" not in (declared.dtype, computed.dtype) and declared.dtype != computed.dtype:
        return False
    if declared.shape is None or computed.shape is None:
        return True
    return _fit(declared.shape, computed.shape)


def _fit(one: Sequence[Dimension], other: Sequence[Dimension]) -> bool:
    """Whether two shapes are compatible; an open size fits any."""
    return len(one) == len(other) and all(
        ours == theirs or not (isinstance(ours, int) and isinstance(theirs, int))
        for ours, theirs in zip(one, other, strict=True)
    )


def _written(value: Value) -> str:
    return f"{value.dtype} {value.shape}"


RULE = Rule(
    id="SD002",
    name="ShapesAgree",
    title="Declared shapes are those that the operators compute, and operands fit together.",
    reason="Rank, memory and the structure that other rules look for follow from shapes; a file "
    "with wrong shapes passes checks that it should fail.",
    remedy="Export the model again; if a tool edited the file, let it infer the shapes again.",
    check=_check,
)
