"""The graph does not meet a known bug of a runtime (see ``traps``)."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.runtime_bugs import RUNTIME_BUGS


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if not policy.runtime_bugs:
        return
    for bug in RUNTIME_BUGS:
        severity = bug.formats.get(graph.format)
        if severity is None or bug.target not in policy.runtime_bugs_on:
            continue
        for found in bug.find(graph):
            yield RULE.broken(
                f"{found.message}: {bug.runtime} answers wrongly in {', '.join(bug.versions)}"
                f"{'' if found.certain else ' once the batch is fixed'}.",
                found.node,
                severity=severity if found.certain else "warning",
                remedy=bug.remedy,
            )


RULE = Rule(
    id="SD018",
    name="KnownRuntimeBugs",
    title="The graph does not meet a known bug of a runtime.",
    reason="A runtime can answer a correct graph wrongly, and no other check would see it.",
    remedy="Write the pattern another way, and verify on the runtime itself.",
    check=_check,
    in_floats=True,
)
