"""SD017: the file mixes channels with the same operators as the exported program.

The file declares how many operators of each geometry mix channels in that program (see ``census``).
An unfolded branch, or a geometry that the program does not have, is an operator too many. A lost
branch is an operator too few. A sum of two branches is a pair too many, whatever their geometry.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from slide_deploy.graph_checks.census import CENSUS_KEY, Census, read_census
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.mixing import MixingGeometry, branched_pairs, mixings
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    try:
        census = read_census(graph.metadata)
    except ValueError as error:
        yield RULE.broken(f"The file's {CENSUS_KEY} {error}.")
        return
    if census is None:
        if policy.structure.census == "declared":
            yield RULE.broken(
                f"The file has no {CENSUS_KEY}, so its operators cannot be checked.",
                remedy="Export it again with this version of slide-deploy, or set "
                'structure.census = "if-declared" in the policy.',
            )
        return
    if graph.sealed:
        yield RULE.broken(
            f"The contents of {', '.join(sorted(graph.sealed))} cannot be read, so operators that "
            f"mix channels there are not counted.",
            severity="warning",
            remedy="Verify the outputs of the file on the device that runs it.",
        )
    present = list(mixings(graph))
    pairs = list(branched_pairs(graph, present))
    if len(pairs) > census.branched_pairs:
        for added, first, second in pairs:
            yield RULE.broken(
                f"Adds {first.name} and {second.name}, two branches of one geometry; the exported "
                f"program has {census.branched_pairs} such sums.",
                added.name,
            )
    found: dict[MixingGeometry, list[str]] = defaultdict(list)
    for node, kind in present:
        found[kind].append(node.name)
    yield from _compare(found, census, whole=not graph.sealed)


def _compare(
    found: Mapping[MixingGeometry, Sequence[str]], census: Census, whole: bool
) -> Iterator[Violation]:
    """Compare names of operators by geometry with the census of the exported program.

    If they are not the whole graph, too few of a geometry is no violation.
    """
    for kind, count in census.mixings.items():
        names = found.get(kind, ())
        hides = census.hidden_matmuls and not kind.kernel
        if (whole and len(names) < count.least) or (len(names) > count.most and not hides):
            yield RULE.broken(
                f"The exported program has {count} {kind}, and the graph has {len(names)}.",
                _listed(names),
            )
    for kind, names in found.items():
        if kind not in census.mixings and not (census.hidden_matmuls and not kind.kernel):
            yield RULE.broken(
                f"The exported program has no {kind}, and the graph has {len(names)}.",
                _listed(names),
            )


def _listed(names: Sequence[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


RULE = Rule(
    id="SD017",
    name="Folded",
    title="Channels are mixed by as many operators of each geometry as in the exported program.",
    reason="An unfolded branch costs a second convolution; a missing one makes the model wrong.",
    remedy="Export the model again with slide-deploy, which folds it first.",
    check=_check,
    in_floats=True,
)
