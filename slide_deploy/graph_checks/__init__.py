"""Checks of written files: one reader a format, one small graph, rules, reports. No torch."""

from slide_deploy.graph_checks.check import Report, check_file, check_files, check_graph
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.inspect import Inspection, inspect, traffic
from slide_deploy.graph_checks.policy import Policy, load_policy, standard_ops, standard_ops_text
from slide_deploy.graph_checks.readers import read_graph, read_sized
from slide_deploy.graph_checks.rules import RULES, Rule, Violation

__all__ = [
    "RULES",
    "Graph",
    "Inspection",
    "Policy",
    "Report",
    "Rule",
    "Violation",
    "check_file",
    "check_files",
    "check_graph",
    "inspect",
    "load_policy",
    "read_graph",
    "read_sized",
    "standard_ops",
    "standard_ops_text",
    "traffic",
]
