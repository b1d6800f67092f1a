"""SD020: inputs and outputs are described to callers as they are in the graph.

A Core ML package holds a description beside the program, and applications read only that. An input
layer of an OpenVINO IR states its type and shape twice, and the runtime reads one of them. ONNX
states them once. The rule also covers how slide-deploy describes the image and the classes.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from slide_deploy.graph_checks.graph import Graph, Value
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.image import image_faults
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if graph.described_inputs is not None:
        yield from _compare("input", graph.described_inputs, graph.inputs)
    if graph.described_outputs is not None:
        yield from _compare("output", graph.described_outputs, graph.outputs)
    for name, message in image_faults(graph):
        yield RULE.broken(message, name)


def _compare(
    side: str, described: Sequence[Value], present: Sequence[Value]
) -> Iterator[Violation]:
    names, actual_names = (
        Counter(value.name for value in values) for values in (described, present)
    )
    for name in sorted(names - actual_names):
        yield RULE.broken(f"Is described as an {side}, and the graph has none of this name.", name)
    for name in sorted(actual_names - names):
        yield RULE.broken(f"Is an {side} of the graph, and is not described as one.", name)
    by_name = {value.name: value for value in present}
    for value in described:
        actual = by_name.get(value.name)
        if actual is None:
            continue
        if value.dtype not in ("undefined", actual.dtype):
            yield RULE.broken(
                f"Is described as {value.dtype}, and the graph has {actual.dtype}.", value.name
            )
        if value.shape is not None and value.shape != actual.shape:
            yield RULE.broken(
                f"Is described as {value.shape}, and the graph has {actual.shape}.", value.name
            )


RULE = Rule(
    id="SD020",
    name="Description",
    title="The graph has the inputs, outputs, image and classes that the file describes to its "
    "callers.",
    reason="Applications rely on the description. Where the graph differs, the runtime refuses the "
    "file or misreads the bytes.",
    remedy="Export the model again; a tool that renames or retypes an input must do it in both "
    "places.",
    check=_check,
)
