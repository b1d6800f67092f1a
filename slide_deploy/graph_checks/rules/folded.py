"""Every slide attention is folded, and written as the file declares.

The file says which slide attentions it holds, each in which form and in how many strips; a form's
signature says which operators that makes (see ``signatures``). Two grouped convolutions of one
geometry that read the same map and whose results are added are a branched pair, whatever the file
declares.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from slide_deploy.graph_checks.declarations import (
    ATTENTIONS_KEY,
    Declaration,
    read_declarations,
)
from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.graph_checks.graph_walks import without_bias
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.signatures import SIGNATURES, Geometry, mixings, signature


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    present = list(mixings(graph))
    yield from _branched_pairs(graph, present)
    try:
        declarations = read_declarations(graph.metadata)
    except ValueError as error:
        yield RULE.broken(f"The file's {ATTENTIONS_KEY} {error}.")
        return
    if declarations is None:
        if policy.require_declared:
            yield RULE.broken(
                f"The file has no {ATTENTIONS_KEY}, so that nobody can tell what it should hold.",
                remedy="Export it with slide-deploy, or set structure.slide_attentions = "
                '"if-declared" in the policy.',
            )
        return
    for declaration in declarations:
        if declaration.lowering not in SIGNATURES:
            known = ", ".join(SIGNATURES)
            yield RULE.broken(
                f"Its lowering is said to be {declaration.lowering[:80]}; known are {known}.",
                declaration.name,
            )
            return
    yield from _count(present, declarations)


def _count(
    present: Sequence[tuple[Node, Geometry]], declarations: Sequence[Declaration]
) -> Iterator[Violation]:
    """Compare the operators of a graph with what the declarations ask for."""
    wanted: Counter[Geometry] = Counter()
    owners: dict[Geometry, list[str]] = defaultdict(list)
    for declaration in declarations:
        for kind, number in signature(declaration).items():
            # Once with its padding, where that is known, and once in the sum of all paddings.
            for each in {kind, kind.padded_anyhow}:
                wanted[each] += number
                owners[each].append(declaration.name)
    found: dict[Geometry, list[str]] = defaultdict(list)
    for node, kind in present:
        for each in {kind, kind.padded_anyhow}:
            found[each].append(node.name)
    said = set()
    for kind in sorted(wanted, key=lambda kind: not kind.pads):
        number, there = wanted[kind], len(found[kind])
        # Without groups, an operator of another layer may look the same; with a padding of its
        # own, a strip may.
        too_many = there > number and kind.is_grouped and not kind.pads
        if (there < number or too_many) and kind.padded_anyhow not in said:
            said.add(kind.padded_anyhow)
            yield RULE.broken(
                f"Needs {number} {kind}, and the graph has {there}.", _listed(owners[kind])
            )
    for kind, names in found.items():
        # Other grouped convolutions may belong to other layers; these spread channels as only
        # slide attention does.
        if not kind.pads and kind not in wanted and kind.is_grouped and kind.outputs > 1:
            yield RULE.broken(
                f"Has {kind}, which no declared slide attention asks for.", _listed(names)
            )


def _branched_pairs(graph: Graph, present: Sequence[tuple[Node, Geometry]]) -> Iterator[Violation]:
    grouped = {
        node.outputs[0]: (node, kind) for node, kind in present if kind.is_grouped and node.outputs
    }
    if not grouped:
        return
    for node in graph.nodes:
        if kind_of(graph, node) is not Kind.ADD or len(node.inputs) != 2:
            continue
        pair = [grouped.get(without_bias(graph, name)) for name in node.inputs]
        if pair[0] is None or pair[1] is None or pair[0] is pair[1]:
            continue
        (first, kind), (second, other) = pair[0], pair[1]
        if kind == other and first.inputs[0] == second.inputs[0]:
            yield RULE.broken(
                f"Adds {first.name} and {second.name}, two branches: {kind}.", node.name
            )


def _listed(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


RULE = Rule(
    id="SD017",
    name="Folded",
    title="Every slide attention is folded and has the operators of its declared form.",
    reason="A branch that was left in costs a second convolution; a missing one is a wrong model.",
    remedy="Fold the model before it is exported: slide-deploy export does.",
    check=_check,
)
