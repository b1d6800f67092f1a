"""SD003: the targets can read the versions of the file format and of the operator set."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    allowed = policy.formats.get(graph.format)
    if allowed is None:
        return
    low, high = allowed.ir_version
    if not low <= graph.ir_version <= high:
        yield RULE.broken(
            f"The file format has version {graph.ir_version}; {low} to {high} are allowed."
        )
    low, high = allowed.opset
    domain = graph.dialect.domain
    version = graph.opsets.get(domain)
    if version is None:
        if graph.nodes:
            yield RULE.broken(f"The file does not state which version of {domain} it uses.")
    elif not low <= version <= high:
        yield RULE.broken(f"{domain} has version {version}; {low} to {high} are allowed.")


RULE = Rule(
    id="SD003",
    name="Versions",
    title="Versions of the file format and of the operator set are in the policy's range.",
    reason="Deployed runtimes refuse a newer version; an older one defines some operators "
    "differently.",
    remedy="Export with an allowed version, or widen the range if every target reads it.",
    check=_check,
)
