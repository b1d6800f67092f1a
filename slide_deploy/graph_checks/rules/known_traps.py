"""The graph does not meet a known bug of a runtime (see ``traps``)."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.traps import TRAPS


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if not policy.known_traps:
        return
    for trap in TRAPS:
        severity = trap.formats.get(graph.format)
        if severity is None or trap.target not in policy.known_traps_on:
            continue
        for found in trap.find(graph):
            yield RULE.broken(
                f"{found.message}: {trap.runtime} answers wrongly in {', '.join(trap.versions)}"
                f"{'' if found.certain else ' once the batch is fixed'}.",
                found.node,
                severity=severity if found.certain else "warning",
                remedy=trap.remedy,
            )


RULE = Rule(
    id="SD018",
    name="KnownTraps",
    title="The graph does not meet a known bug of a runtime.",
    reason="A runtime can answer a correct graph wrongly, and no other check would see it.",
    remedy="Write the pattern another way, and verify on the runtime itself.",
    check=_check,
    in_floats=True,
)
