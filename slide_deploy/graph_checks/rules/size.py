"""The files and the number of weights stay within the policy's limits: SD011 and SD012."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.inspect import file_bytes, parameters
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _file_size(graph: Graph, policy: Policy) -> Iterator[Violation]:
    size = file_bytes(graph)
    if size > policy.limits.file_bytes:
        yield FILE_SIZE.broken(
            f"The files have {size:,} bytes; {policy.limits.file_bytes:,} are allowed."
        )


FILE_SIZE = Rule(
    id="SD011",
    name="FileSize",
    title="The files of the model together are not larger than the policy allows.",
    reason="Downloads and devices have limits, and a sudden growth points to a mistake.",
    remedy="Export a smaller model or narrower weights, or raise the limit.",
    check=_file_size,
)


def _parameter_count(graph: Graph, policy: Policy) -> Iterator[Violation]:
    count = parameters(graph)
    if count > policy.limits.parameters:
        yield PARAMETER_COUNT.broken(
            f"The file holds {count:,} weights; {policy.limits.parameters:,} are allowed."
        )


PARAMETER_COUNT = Rule(
    id="SD012",
    name="ParameterCount",
    title="The file holds no more weights than the policy allows.",
    reason="More weights than the architecture has mean that something was stored twice or not "
    "folded.",
    remedy="Look for constants that should be computed or shared, or raise the limit.",
    check=_parameter_count,
)
