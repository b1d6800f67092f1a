"""SD013: everything that the file stores or computes is needed by an output."""

from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if policy.constants.unused:
        return
    outputs = {value.name for value in graph.outputs}
    for constant in graph.constants.values():
        if constant.name not in graph.consumers and constant.name not in outputs:
            yield RULE.broken(
                f"Nothing reads this constant of {constant.size} bytes.", constant.name
            )
    needed = _needed(graph, outputs)
    for node in graph.nodes:
        if id(node) not in needed and not _is_unread_input(graph, node):
            yield RULE.broken(f"No output depends on this {node.operator}.", node.name)
    for found in graph.left_over:
        yield RULE.broken(f"The graph uses nothing of {found.what}: {found.size:,} bytes.")


def _is_unread_input(graph: Graph, node: Node) -> bool:
    """Whether the format's converter added a node to keep an input that the network ignores."""
    inputs = {value.name for value in graph.inputs}
    return (
        node.operator == graph.dialect.unread_input
        and set(filter(None, node.inputs)) <= inputs
        and not any(name in graph.consumers for name in node.outputs)
    )


def _needed(graph: Graph, outputs: set[str]) -> set[int]:
    """Identities of the nodes that an output depends on."""
    waiting, needed = list(outputs), set()
    while waiting:
        node = graph.producers.get(waiting.pop())
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            waiting.extend(node.inputs)
    return needed


RULE = Rule(
    id="SD013",
    name="Unused",
    title="Every constant is read, every operator leads to an output, and the files hold nothing "
    "else.",
    reason="Leftovers are stale weights or branches that should have been folded.",
    remedy="Remove them; exporters do, so find out which tool left them there.",
    check=_check,
)
