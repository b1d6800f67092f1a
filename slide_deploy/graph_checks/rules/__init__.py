"""The rules, in the order in which reports list them.

First whether the graph holds together at all, then what it is made of, then what it stores, then
what this project is about.
"""

from slide_deploy.graph_checks.rules import (
    control_flow,
    description,
    dimensions,
    domains,
    duplicates,
    file_size,
    finite,
    folded,
    interface,
    norm_epsilon,
    operators,
    parameter_count,
    precision,
    rank,
    runtime_bugs,
    scales,
    shapes_agree,
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
    operators.RULE,
    domains.RULE,
    control_flow.RULE,
    types.RULE,
    rank.RULE,
    dimensions.RULE,
    interface.RULE,
    file_size.RULE,
    parameter_count.RULE,
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

__all__ = ["RULES", "Rule", "Severity", "Violation"]
