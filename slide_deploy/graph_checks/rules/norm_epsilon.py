"""SD019: normalisations have the epsilons that the file declares and the policy allows.

The file declares how many normalisations of each epsilon it holds (see ``normalisations``). A
policy may list the allowed epsilons, because a tool that changes the graph can change the
declaration as well. A file that declares nothing is checked against the policy alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from slide_deploy.graph_checks.census import Count
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.normalisations import (
    NORMALISATIONS_KEY,
    Normalisation,
    normalisations,
    read_normalisations,
    same_epsilon,
)
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    try:
        declared = read_normalisations(graph.metadata)
    except ValueError as error:
        yield RULE.broken(f"The file's {NORMALISATIONS_KEY} {error}.")
        declared = None
    found = list(normalisations(graph))
    allowed = policy.structure.norm_epsilons
    if declared is None:
        if allowed:
            yield from _compare(found, allowed, "the policy allows")
        return
    for epsilon in declared if allowed else ():
        if _among(epsilon, allowed) is None:
            yield RULE.broken(
                f"The file declares the epsilon {epsilon:g}; the policy allows {_written(allowed)}."
            )
    yield from _compare(found, tuple(declared), "the file declares")
    yield from _count(found, declared, whole=not graph.sealed)


def _compare(
    found: Sequence[Normalisation], wanted: Iterable[float], whose: str
) -> Iterator[Violation]:
    """Check the epsilon of each normalisation against the allowed ones."""
    for each in found:
        name, epsilon = each.node.name, each.epsilon
        if epsilon is None:
            yield RULE.broken("Does not hold its epsilon as a number.", name)
        elif not each.under_root:
            yield RULE.broken("Adds its epsilon to the deviation, not to the variance.", name)
        # A sum under a root need not belong to a normalisation.
        elif each.is_operator and _among(epsilon, wanted) is None:
            yield RULE.broken(f"Has the epsilon {epsilon:g}; {whose} {_written(wanted)}.", name)


def _count(
    found: Sequence[Normalisation], declared: Mapping[float, Count], whole: bool
) -> Iterator[Violation]:
    """Compare the counts with the declared ones; a graph with sealed nodes may show fewer."""
    present = Counter(_among(each.epsilon, declared) for each in found if each.epsilon is not None)
    for epsilon, count in declared.items():
        least = count.least if whole else 0
        if not least <= present[epsilon] <= count.most:
            yield RULE.broken(
                f"The file declares {count} normalisations of epsilon {epsilon:g}, and the graph "
                f"has {present[epsilon]}."
            )


def _among(epsilon: float, wanted: Iterable[float]) -> float | None:
    """The wanted epsilon that a stored epsilon equals after rounding; None if there is none."""
    return next((candidate for candidate in wanted if same_epsilon(epsilon, candidate)), None)


def _written(epsilons: Iterable[float]) -> str:
    return " or ".join(f"{epsilon:g}" for epsilon in epsilons) or "none"


RULE = Rule(
    id="SD019",
    name="NormEpsilon",
    title="The graph has as many normalisations of each epsilon as the file declares, and the "
    "policy allows each epsilon.",
    reason="A wrong epsilon deep inside changes the outputs less than rounding does, until the "
    "variance of an input is small.",
    remedy="Export the model again; if it is meant to have another epsilon, add it to the policy.",
    check=_check,
    in_floats=True,
)
