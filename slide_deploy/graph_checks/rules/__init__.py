"""The rules, in the order in which reports list them.

They begin with whether the graph is valid. Then come its operators, types and shapes, then its
constants, and last what is specific to slide attention and quantisation.
"""

from slide_deploy.graph_checks.rules import (
    description,
    dimensions,
    duplicates,
    finite,
    folded,
    interface,
    norm_epsilon,
    operators,
    precision,
    rank,
    runtime_bugs,
    scales,
    shapes_agree,
    size,
    types,
    unfold,
    unused,
    versions,
    well_formed,
)
from slide_deploy.graph_checks.rules.rule import Rule, Severity, Violation

RULES: tuple[Rule, ...] = (
    well_formed.RULE,
    shapes_agree.RULE,
    versions.RULE,
    operators.OPERATORS,
    operators.DOMAINS,
    operators.CONTROL_FLOW,
    types.RULE,
    rank.RULE,
    dimensions.RULE,
    interface.RULE,
    size.FILE_SIZE,
    size.PARAMETER_COUNT,
    unused.RULE,
    duplicates.RULE,
    finite.RULE,
    unfold.RULE,
    folded.RULE,
    runtime_bugs.RULE,
    norm_epsilon.RULE,
    description.RULE,
    precision.RULE,
    scales.RULE,
)

__all__ = ["RULES", "Rule", "Severity", "Violation", "rule_table"]


def rule_table() -> str:
    """The rules as a Markdown table, for the documentation."""
    lines = ["| rule | holds if | because | where it does not |", "|---|---|---|---|"]
    lines += [
        f"| {rule.id} {rule.name} | {rule.title} | {rule.reason} | {rule.remedy} |"
        for rule in RULES
    ]
    return "\n".join(lines) + "\n"
