"""No branches and no loops."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if policy.allow_control_flow:
        return
    for node in graph.nodes:
        if kind_of(graph, node) is Kind.CONTROL_FLOW:
            yield RULE.broken(f"{node.operator} decides at run time what is computed.", node.name)


RULE = Rule(
    id="SD006",
    name="ControlFlow",
    title="No control flow: no If, Loop, Scan or their relatives.",
    reason="Accelerators cannot plan it, and it hides which operators really run.",
    remedy="Export with torch.export, which unrolls loops and refuses data-dependent branches.",
    check=_check,
)
