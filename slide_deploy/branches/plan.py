"""Which terms of a sum become one convolution: those of one source, where it does not cost more.

The measure is the products that a position of the output takes. One convolution must take no more
than all that it replaces: 3x3 and 1x1 become 3x3, while a dense 1x1 beside a depthwise 3x3 stays,
as both together would be a dense 3x3. Factors, normalisations and additions count as nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from slide_deploy.branches.kernels import Kernel, add
from slide_deploy.branches.shapes import Different, Shape, summed
from slide_deploy.branches.steps import Step
from slide_deploy.branches.terms import Term, Value, Values, Way
from slide_deploy.program.traced import shape


@dataclass(frozen=True)
class Merge:
    """Terms that become one convolution.

    Attributes:
        source: what it reads.
        shape: of it.
        terms: which they are, by their place in the sum.
        ways: how each is a convolution of the source.
    """

    source: Node
    shape: Shape
    terms: tuple[int, ...]
    ways: tuple[Way, ...]

    @property
    def inner(self) -> frozenset[Node]:
        """Nodes that nobody needs any more."""
        return frozenset().union(*(way.inner for way in self.ways))

    def kernel(self) -> Kernel:
        """Compute it."""
        return add([way.kernel() for way in self.ways], self.shape)


def plan(value: Value, values: Values) -> list[Merge]:
    """What to put together.

    Args:
        value: a sum, or a single term, which is a chain.
        values: of the program.

    Returns:
        Merges of different terms; none where nothing is to be done.
    """
    left = list(range(len(value.terms)))
    merges: list[Merge] = []
    while (found := next(_candidates(value.terms, left, values), None)) is not None:
        merges.append(found)
        left = [each for each in left if each not in found.terms]
    is_full = not left and len(merges) == 1
    if is_full or all(term.is_whole for term in value.terms):
        return merges
    return []  # what is left cannot stand by itself


def merged(value: Value, values: Values) -> Way | None:
    """A sum as one convolution, where all its terms are put together; None where they are not."""
    merges = plan(value, values)
    if len(merges) != 1 or len(merges[0].terms) != len(value.terms):
        return None
    (merge,) = merges
    cost = sum(way.cost for way in merge.ways)
    return Way(merge.source, merge.shape, merge.kernel, merge.inner | value.spine, cost)


def why_not(terms: Sequence[Term], values: Values) -> str | None:
    """Why terms of one source are not put together; None if they have no source in common."""
    for source, held in _by_source(terms, range(len(terms))):
        if len(held) < 2 or not _holds_convolution([way for _, way in held], values):
            continue
        try:
            shape = summed([way.shape for _, way in held], _is_closed(source))
        except Different as error:
            return str(error)
        before = sum(way.cost for _, way in held)
        if shape.weights > before:
            return (
                f"one convolution would take {shape.weights} products a position in place of "
                f"{before}"
            )
    return None


def _candidates(terms: Sequence[Term], left: Sequence[int], values: Values) -> Iterator[Merge]:
    """What may be put together and pays, the most terms first."""
    for source, held in _by_source(terms, left):
        if len(held) < 2 and len(terms) > 1:
            return  # a chain of its own is looked at where it ends
        merge = _merge(source, held, values) or _greedy(source, held, values)
        if merge is not None:
            yield merge


def _by_source(
    terms: Sequence[Term], left: Sequence[int]
) -> list[tuple[Node, list[tuple[int, Way]]]]:
    """Sources with the terms that are convolutions of them; most terms first, then farthest."""
    held: dict[Node, dict[int, Way]] = {}
    for index in left:
        for way in terms[index].ways:
            held.setdefault(way.source, {}).setdefault(index, way)
    # Ways run from the nearest source to the farthest.
    sources = [(source, list(ways.items())) for source, ways in reversed(held.items())]
    return sorted(sources, key=lambda each: -len(each[1]))


def _merge(source: Node, held: Sequence[tuple[int, Way]], values: Values) -> Merge | None:
    """All of some terms as one convolution; None where it is not exact or costs more."""
    ways = [way for _, way in held]
    if not _holds_convolution(ways, values):
        return None
    try:
        shape = summed([way.shape for way in ways], _is_closed(source))
    except Different:
        return None
    if shape.weights > sum(way.cost for way in ways):
        return None
    return Merge(source, shape, tuple(index for index, _ in held), tuple(ways))


def _greedy(source: Node, held: Sequence[tuple[int, Way]], values: Values) -> Merge | None:
    """The costliest term with those that it takes in for nothing."""
    first, *others = sorted(held, key=lambda each: -each[1].cost)
    taken, found = [first], None
    for each in others:
        merge = _merge(source, [*taken, each], values)
        if merge is not None:
            taken, found = [*taken, each], merge
    return found


def _holds_convolution(ways: Sequence[Way], values: Values) -> bool:
    """Whether there is something to put together, and a convolution among it."""
    roles = [
        step.role
        for way in ways
        for step in map(values.found, way.inner)
        if isinstance(step, Step) and step.is_part
    ]
    return "convolution" in roles and len(roles) + len(ways) > 2


def _is_closed(source: Node) -> bool:
    return not any(isinstance(each, torch.SymInt) for each in shape(source)[2:])
