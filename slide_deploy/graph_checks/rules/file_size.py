"""The file is not larger than the policy allows."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.inspect import file_bytes
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    size = file_bytes(graph)
    if size > policy.max_file_bytes:
        yield RULE.broken(f"The files have {size:,} bytes; {policy.max_file_bytes:,} are allowed.")


RULE = Rule(
    id="SD011",
    name="FileSize",
    title="All files of the model together are not larger than the policy allows.",
    reason="Downloads and devices have limits, and a sudden growth is a mistake.",
    remedy="Export a smaller model or narrower weights, or raise the limit.",
    check=_check,
)
