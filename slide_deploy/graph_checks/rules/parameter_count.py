"""The model has no more parameters than the policy allows."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.inspect import parameters
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    count = parameters(graph)
    if count > policy.max_parameters:
        yield RULE.broken(
            f"The file holds {count:,} weights; {policy.max_parameters:,} are allowed."
        )


RULE = Rule(
    id="SD012",
    name="ParameterCount",
    title="The file holds no more weights than the policy allows.",
    reason="More than the architecture has means that something was stored twice or unfolded.",
    remedy="Look for constants that should have been computed or shared, or raise the limit.",
    check=_check,
)
