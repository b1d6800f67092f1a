"""Every operator is on the list of its domain."""

from collections import defaultdict
from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation

# Rules of their own speak of these, and say more.
_SPOKEN_FOR = (Kind.CONTROL_FLOW, Kind.UNFOLD)


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    section = policy.formats.get(graph.format)
    if section is None:
        return
    lists = section.operators
    foreign = defaultdict(list)
    for node in graph.nodes:
        known = lists.get(node.domain)
        spoken_for = kind_of(graph, node) in _SPOKEN_FOR
        if known is not None and node.operator not in known and not spoken_for:
            foreign[node.domain, node.operator].append(node.name)
    for (domain, operator), names in foreign.items():
        others = f", and {len(names) - 1} more like it" if len(names) > 1 else ""
        yield RULE.broken(f"{operator} of {domain} is not an allowed operator{others}.", names[0])


RULE = Rule(
    id="SD004",
    name="Operators",
    title="Every operator is on the policy's list for its format.",
    reason="The list holds what runtimes implement on every device; others fall back to slow "
    "paths or fail at load time.",
    remedy="Write the operator in terms of listed ones, or add it to the policy if every target "
    "has it.",
    check=_check,
)
