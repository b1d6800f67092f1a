"""Check exported files without running them: readers, a common graph, rules, reports. No torch."""

from slide_deploy.graph_checks.check import Report, check_file, check_files, check_graph
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.inspect import Inspection, inspect, traffic
from slide_deploy.graph_checks.policy import (
    BUILT_IN,
    STANDARD_OPS,
    Policy,
    built_in_policy,
    built_in_text,
    load_policy,
    named_policy,
    standard_ops,
)
from slide_deploy.graph_checks.readers import read_graph, read_sized
from slide_deploy.graph_checks.rules import RULES, Rule, Violation

__all__ = [
    "BUILT_IN",
    "RULES",
    "STANDARD_OPS",
    "Graph",
    "Inspection",
    "Policy",
    "Report",
    "Rule",
    "Violation",
    "built_in_policy",
    "built_in_text",
    "check_file",
    "check_files",
    "check_graph",
    "inspect",
    "load_policy",
    "named_policy",
    "read_graph",
    "read_sized",
    "standard_ops",
    "traffic",
]
