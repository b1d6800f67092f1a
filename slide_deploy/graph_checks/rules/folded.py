"""Every slide attention is folded, and written as the file declares.

The file says which slide attentions it holds and in which form; the form's signature says which
grouped convolutions that makes (see ``declarations``). They are counted by their geometry, since a
runtime's converter may forget names but not geometry. Two grouped convolutions of one geometry
whose results are added are a branched pair, whatever the file declares.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from slide_deploy.graph_checks.convolutions import Convolution, convolutions
from slide_deploy.graph_checks.declarations import (
    ATTENTIONS_KEY,
    LOWERING_KEY,
    SIGNATURES,
    Declaration,
    Geometry,
    Signature,
    expected,
    geometry,
    read_declarations,
)
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.graph_walks import without_bias
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    grouped = [found for found in convolutions(graph) if found.groups > 1]
    yield from _branched_pairs(graph, grouped)
    try:
        declarations = read_declarations(graph.metadata)
    except ValueError as error:
        yield RULE.broken(f"The file's {ATTENTIONS_KEY} {error}.")
        return
    lowering = graph.metadata.get(LOWERING_KEY, "missing")
    if declarations is None:
        if policy.require_declared:
            yield RULE.broken(
                f"The file has no {ATTENTIONS_KEY}, so that nobody can tell what it should hold.",
                remedy="Export it with slide-deploy, or set structure.slide_attentions = "
                '"if-declared" in the policy.',
            )
    elif lowering not in SIGNATURES:
        known = ", ".join(SIGNATURES)
        yield RULE.broken(f"The file's {LOWERING_KEY} is {lowering}; known are {known}.")
    else:
        yield from _count(grouped, declarations, SIGNATURES[lowering])


def _count(
    grouped: Sequence[Convolution], declarations: Sequence[Declaration], signature: Signature
) -> Iterator[Violation]:
    """Compare the grouped convolutions of a graph with what the declarations ask for."""
    wanted: Counter[Geometry] = Counter()
    owners: dict[Geometry, list[str]] = defaultdict(list)
    for declaration in declarations:
        kind, number = expected(declaration, signature)
        wanted[kind] += number
        owners[kind].append(declaration.name)
    present: dict[Geometry, list[str]] = defaultdict(list)
    for found in grouped:
        present[geometry(found)].append(found.node.name)
    for kind, number in wanted.items():
        if len(present[kind]) != number:
            yield RULE.broken(
                f"Needs {number} convolutions of {kind}, and the graph has {len(present[kind])}.",
                _listed(owners[kind]),
            )
    for kind, names in present.items():
        # Other grouped convolutions may belong to other layers; these spread channels as only
        # the branches of slide attention do.
        if kind not in wanted and kind.outputs_per_group > 1:
            yield RULE.broken(
                f"Has {kind}, which no declared slide attention asks for.", _listed(names)
            )


def _branched_pairs(graph: Graph, grouped: Sequence[Convolution]) -> Iterator[Violation]:
    if not grouped:
        return
    by_result = {found.node.outputs[0]: found for found in grouped if found.node.outputs}
    for node in graph.nodes:
        if kind_of(graph, node) is not Kind.ADD or len(node.inputs) != 2:
            continue
        pair = [by_result.get(without_bias(graph, name)) for name in node.inputs]
        first, second = pair
        if first is None or second is None or first is second:
            continue
        if geometry(first) == geometry(second):
            yield RULE.broken(
                f"Adds {first.node.name} and {second.node.name}, two branches of "
                f"{geometry(first)}.",
                node.name,
            )


def _listed(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


RULE = Rule(
    id="SD017",
    name="Folded",
    title="Every slide attention is folded and has the convolutions of its declared form.",
    reason="A branch that was left in costs a second convolution; a missing one is a wrong model.",
    remedy="Fold the model before it is exported: slide-deploy export does.",
    check=_check,
)
