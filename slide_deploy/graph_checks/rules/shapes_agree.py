"""Declared shapes are those that the operators give.

Readers of IR and Core ML packages take the shapes that the file declares. Where this package can
compute a shape itself (see ``shapes``), the two must agree, or no other rule could be believed. The
reader of ONNX files computes shapes and types itself and keeps apart what the file declares.
"""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph, Node, Value, elements_of
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.shapes import Known, at_batch_one, computed, misfit, steering


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
                f"Is declared as {_written(declared)}, and its operator gives "
                f"{_written(graph.values[name])}.",
                name,
            )


def _disagreement(graph: Graph, node: Node, known: Known) -> str:
    declared = graph.shape(node.outputs[0]) or ()
    shape = computed(graph, node, known)
    if shape is not None:
        fits = len(shape) == len(declared) and all(
            not isinstance(theirs, int) or ours == theirs
            for ours, theirs in zip(shape, declared, strict=True)
        )
        return "" if fits else f"Declares {declared} and its inputs give {shape}."
    if kind_of(graph, node) is not Kind.RESHAPE or node.inputs[:1] == () or len(node.outputs) > 1:
        return ""
    source, target = known.get(node.inputs[0]), known.get(node.outputs[0])
    if source is None or target is None or elements_of(source) == elements_of(target):
        return _pattern_disagreement(graph, node)
    return f"Reshapes {source} to {target}, which has another number of elements."


def _pattern_disagreement(graph: Graph, node: Node) -> str:
    """A constant pattern of a reshape must have the declared rank and sizes."""
    if node.operator.lower() != "reshape":
        return ""
    pattern = steering(graph, node, graph.dialect.pattern)
    declared = graph.shape(node.outputs[0])
    if pattern is None or declared is None:
        return ""
    fits = len(pattern) == len(declared) and all(
        ours < 1 or not isinstance(theirs, int) or ours == theirs
        for ours, theirs in zip(pattern, declared, strict=True)
    )
    return "" if fits else f"Declares {declared} and reshapes to {pattern}."


def _agree(declared: Value, given: Value) -> bool:
    """Whether a declared type and shape can be those that an operator gives; open sizes can be."""
    if "undefined" not in (declared.dtype, given.dtype) and declared.dtype != given.dtype:
        return False
    if declared.shape is None or given.shape is None:
        return True
    return len(declared.shape) == len(given.shape) and all(
        ours == theirs or not (isinstance(ours, int) and isinstance(theirs, int))
        for ours, theirs in zip(declared.shape, given.shape, strict=True)
    )


def _written(value: Value) -> str:
    return f"{value.dtype} {value.shape}"


RULE = Rule(
    id="SD002",
    name="ShapesAgree",
    title="Declared shapes are those that the operators give, and operands fit together.",
    reason="Shapes decide rank, memory and the structure that other rules look for; a file that "
    "declares others passes checks that it should fail.",
    remedy="Export the model again; if a tool edited the file, let it infer the shapes anew.",
    check=_check,
)
