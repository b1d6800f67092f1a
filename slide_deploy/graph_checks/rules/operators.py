"""Operators are listed, come from standard domains, and none is control flow: SD004 to SD006."""

from collections import defaultdict
from collections.abc import Container, Iterator

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, kind_of
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation

# Other rules report these, with a better message.
_REPORTED_ELSEWHERE = (Kind.CONTROL_FLOW, Kind.UNFOLD)


def _operators(graph: Graph, policy: Policy) -> Iterator[Violation]:
    section = policy.formats.get(graph.format)
    if section is None:
        return
    lists = section.operators
    foreign = defaultdict(list)
    for node in graph.nodes:
        known = lists.get(node.domain)
        reported_elsewhere = kind_of(graph, node) in _REPORTED_ELSEWHERE
        if known is not None and node.operator not in known and not reported_elsewhere:
            foreign[node.domain, node.operator].append(node.name)
    for (domain, operator), names in foreign.items():
        others = f", and {len(names) - 1} more like it" if len(names) > 1 else ""
        yield OPERATORS.broken(
            f"{operator} of {domain} is not an allowed operator{others}.", names[0]
        )


OPERATORS = Rule(
    id="SD004",
    name="Operators",
    title="Every operator is on the policy's list for its format.",
    reason="The list holds what runtimes implement on every device; others fall back to slow "
    "paths or fail at load time.",
    remedy="Write the operator in terms of listed ones, or add it to the policy if every target "
    "has it.",
    check=_operators,
)


def _domains(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if graph.format in policy.formats:
        yield from _foreign(graph, policy.formats[graph.format].operators)
    for function in graph.functions:
        yield DOMAINS.broken(
            "The file itself defines this operator.",
            function,
            remedy="Inline local functions, with onnx.inliner for example.",
        )


def _foreign(graph: Graph, allowed: Container[str]) -> Iterator[Violation]:
    """Domains that the nodes use or the file imports, and that are not allowed."""
    used: dict[str, str] = {}
    for node in graph.nodes:
        used.setdefault(node.domain, f"{node.name} ({node.operator})")
    for domain in sorted({*used, *graph.opsets}):
        if domain in allowed:
            continue
        if domain in used:
            yield DOMAINS.broken(f"{used[domain]} comes from the domain {domain}.", used[domain])
        else:
            yield DOMAINS.broken(f"The file imports the domain {domain} and uses nothing of it.")


DOMAINS = Rule(
    id="SD005",
    name="Domains",
    title="No operator comes from a custom domain or is defined in the file itself.",
    reason="A custom operator needs a library on every device, which is what folding avoids.",
    remedy="Export with standard operators only, or allow the domain in the policy.",
    check=_domains,
)


def _control_flow(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if policy.structure.control_flow:
        return
    for node in graph.nodes:
        if kind_of(graph, node) is Kind.CONTROL_FLOW:
            yield CONTROL_FLOW.broken(
                f"{node.operator} decides at run time what is computed.", node.name
            )


CONTROL_FLOW = Rule(
    id="SD006",
    name="ControlFlow",
    title="There is no control flow: no If, Loop, Scan or similar operator.",
    reason="Accelerators cannot plan control flow, and it hides which operators really run.",
    remedy="Export with torch.export, which unrolls loops and refuses data-dependent branches.",
    check=_control_flow,
)
