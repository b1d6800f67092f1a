"""Operators come from standard domains, and the file defines none itself."""

from collections.abc import Container, Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    section = policy.formats.get(graph.format)
    if section is not None:
        yield from _foreign(graph, section.operators)
    for function in graph.functions:
        yield RULE.broken(
            "The file defines this operator itself.",
            function,
            remedy="Inline local functions, with onnx.inliner for example.",
        )


def _foreign(graph: Graph, allowed: Container[str]) -> Iterator[Violation]:
    """Domains that are used or asked for, and not allowed."""
    used: dict[str, str] = {}
    for node in graph.nodes:
        used.setdefault(node.domain, f"{node.name} ({node.operator})")
    for domain in sorted({*used, *graph.opsets}):
        if domain in allowed:
            continue
        if domain in used:
            yield RULE.broken(f"{used[domain]} comes from the domain {domain}.", used[domain])
        else:
            yield RULE.broken(f"The file asks for the domain {domain} and uses nothing of it.")


RULE = Rule(
    id="SD005",
    name="Domains",
    title="No custom domains and no operators that the file defines itself.",
    reason="A custom operator needs a library on every device, which is what folding avoids.",
    remedy="Export with standard operators only, or allow the domain in the policy.",
    check=_check,
)
