"""SD001: every value is computed once and before it is read, and so is every output."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    given = {value.name for value in graph.inputs} | set(graph.constants) | graph.bound
    known = set(given)
    if not graph.outputs:
        yield RULE.broken("The graph has no output.")
    for node in graph.nodes:
        for name in node.inputs:
            if not name and graph.dialect.optional_inputs:
                continue
            if name not in given and name not in graph.producers:
                yield RULE.broken(f"Reads {name or 'an input'}, which nothing computes.", node.name)
            elif name not in known and graph.dialect.in_order:
                yield RULE.broken(f"Reads {name} before it is computed.", node.name)
        for name in filter(None, node.outputs):
            if name in given or graph.producers.get(name) is not node:
                yield RULE.broken(f"Computes {name}, which is defined elsewhere too.", node.name)
            known.add(name)
    for value in graph.outputs:
        if value.name not in given and value.name not in graph.producers:
            yield RULE.broken("No operator computes this output.", value.name)
    if len(graph.order) < len(graph.nodes):
        yield RULE.broken(
            f"{len(graph.nodes) - len(graph.order)} operators are on a cycle or depend on one."
        )


RULE = Rule(
    id="SD001",
    name="WellFormed",
    title="Every value is computed once and before it is read.",
    reason="A runtime refuses such a graph, or worse, picks one of two definitions.",
    remedy="Export the model again; if a tool edited the file, let it sort and check the graph.",
    check=_check,
)
