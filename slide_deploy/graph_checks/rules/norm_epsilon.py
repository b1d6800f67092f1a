"""Every normalisation has the epsilon that the file declares, and the declaration keeps the policy.

The file says how many normalisations of which epsilon it holds (see ``normalisations``). What it
says is compared with the policy as well: whoever changes the graph can change what the file says of
itself. A file that declares nothing is held against the policy alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.normalisations import (
    NORMALISATIONS_KEY,
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
    if declared is None:
        yield from _compare(graph, policy.norm_epsilons or None, "the policy allows")
        return
    for epsilon in declared if policy.norm_epsilons else ():
        if _among(epsilon, policy.norm_epsilons) is None:
            yield RULE.broken(
                f"The file declares the epsilon {epsilon:g}; the policy allows "
                f"{_written(policy.norm_epsilons)}."
            )
    yield from _compare(graph, tuple(declared), "the file declares")
    yield from _count(graph, declared)


def _compare(graph: Graph, wanted: tuple[float, ...] | None, whose: str) -> Iterator[Violation]:
    """Hold each normalisation against the epsilons that may be; None if any may be."""
    for found in normalisations(graph):
        name, epsilon = found.node.name, found.epsilon
        if epsilon is None:
            yield RULE.broken("Does not hold its epsilon as a number.", name)
        elif not found.under_root:
            yield RULE.broken("Adds its epsilon to the deviation, not to the variance.", name)
        elif wanted is not None and _among(epsilon, wanted) is None:
            yield RULE.broken(f"Has the epsilon {epsilon:g}; {whose} {_written(wanted)}.", name)


def _count(graph: Graph, declared: Mapping[float, int]) -> Iterator[Violation]:
    present = Counter(
        _among(found.epsilon, declared)
        for found in normalisations(graph)
        if found.epsilon is not None
    )
    for epsilon, count in declared.items():
        if present[epsilon] != count:
            yield RULE.broken(
                f"The file declares {count} normalisations of epsilon {epsilon:g}, and the graph "
                f"has {present[epsilon]}."
            )


def _among(epsilon: float, wanted: Iterable[float]) -> float | None:
    """The wanted epsilon that a stored one is; None if it is another."""
    return next((candidate for candidate in wanted if same_epsilon(epsilon, candidate)), None)


def _written(epsilons: Iterable[float]) -> str:
    return " or ".join(f"{epsilon:g}" for epsilon in epsilons) or "none"


RULE = Rule(
    id="SD019",
    name="NormEpsilon",
    title="Normalisations have the epsilon, and are as many, as the file declares and the policy "
    "allows.",
    reason="A wrong epsilon deep inside moves the answers less than rounding does, until an input "
    "comes whose variance is small.",
    remedy="Export the model again; where it has another epsilon, name it in the policy.",
    check=_check,
)
