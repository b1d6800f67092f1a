"""SD008: no value has a higher rank than the targets support.

The limit is 5, because Core ML refuses 6, or the rank that the census states for the exported
program outside slide attention: a network that partitions windows in rank 6 may do so in formats
that support it. Inside slide attention, from each operator that mixes its channels (see ``census``)
to the next, the limit is 4, which the lowerings guarantee.
"""

from collections.abc import Iterator

from slide_deploy.graph_checks.census import Census, valid_census
from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.graph_checks.graph_walks import ancestors, inside_attention
from slide_deploy.graph_checks.mixing import mixings
from slide_deploy.graph_checks.policy import COMMON_RANK, Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    limits, census = policy.limits, valid_census(graph.metadata)
    inside = {node.name for node in inside_attention(graph, _starts(graph, census))}
    grouped = _grouped_weights(graph)
    declared = max(COMMON_RANK, census.rank)
    anywhere = declared if isinstance(limits.rank, str) else limits.rank
    for constant in graph.constants.values():
        limit = anywhere + (constant.name in grouped)
        if len(constant.shape) > limit:
            yield RULE.broken(
                f"This constant has rank {len(constant.shape)}; {limit} is the most.",
                constant.name,
            )
    for node in graph.nodes:
        is_inside = node.name in inside
        limit = limits.slide_attention_rank if is_inside else anywhere
        where = " inside slide attention" if is_inside else ""
        for name in filter(None, node.outputs):
            shape = graph.shape(name)
            if shape is None:
                if not limits.unknown_rank:
                    yield RULE.broken("The rank of this value is not known.", name)
            elif len(shape) > limit + (name in grouped):
                yield RULE.broken(
                    f"{node.operator} gives rank {len(shape)}; {limit} is the most{where}.", name
                )


def _grouped_weights(graph: Graph) -> frozenset[str]:
    """Weights that OpenVINO stores with a groups axis, and the values that they are cast from."""
    names = set()
    for node in graph.nodes:
        if not node.operator.startswith("GroupConvolution") or len(node.inputs) < 2:
            continue
        names.add(node.inputs[1])
        for producer in ancestors(graph, node.inputs[1]):
            names.update(producer.inputs[:1])
    return frozenset(names)


def _starts(graph: Graph, census: Census) -> list[Node]:
    """Operators whose geometry only slide attention has."""
    own = {kind for kind, count in census.mixings.items() if count.slide_attention}
    return [node for node, kind in mixings(graph) if kind in own] if own else []


RULE = Rule(
    id="SD008",
    name="Rank",
    title="No value has a higher rank than the policy allows, or an unknown rank unless it allows "
    "that.",
    reason="Core ML refuses rank 6, and runtimes have fast layouts up to rank 4 only.",
    remedy="Merge dimensions, for example heads into the batch, as slide-deploy's lowerings do.",
    check=_check,
    in_floats=True,
)
