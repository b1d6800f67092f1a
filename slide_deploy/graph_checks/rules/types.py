"""SD007: element types of values and constants are on the policy's lists."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    for constant in graph.constants.values():
        if constant.dtype not in policy.types.constants:
            yield RULE.broken(f"This constant is {constant.dtype}.", constant.name)
    for node in graph.nodes:
        for name in filter(None, node.outputs):
            value = graph.values.get(name)
            if value is None:
                yield RULE.broken("The file does not state the type of this value.", name)
            elif value.dtype not in policy.types.values:
                yield RULE.broken(f"{node.operator} computes {value.dtype}.", name)


RULE = Rule(
    id="SD007",
    name="Types",
    title="Element types are on the policy's lists.",
    reason="float64 has no kernels on accelerators, and a stray type costs a conversion at every "
    "edge.",
    remedy="Export the model in float32 or float16, or allow the type in the policy.",
    check=_check,
)
