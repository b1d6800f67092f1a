"""Which terms of a sum become one convolution: those of one source, where it does not cost more.

The measure is the products that a position of the output takes. Two convolutions become one if that
takes no more than both: 3x3 and 1x1 become 3x3, while a dense 1x1 beside a depthwise 3x3 stays, as
both together would be a dense 3x3. The costliest takes in the others, one after the other; what is
left is put together if all of it pays. Factors, normalisations and additions count as nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from slide_deploy.branches.kernels import Kernel, add
from slide_deploy.branches.shapes import Different, Shape, summed
from slide_deploy.branches.steps import Step
from slide_deploy.branches.terms import Term, TermValue, Values, Way
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


def plan(value: TermValue, values: Values) -> list[Merge]:
    """What to put together.

    Args:
        value: a sum, or a single term, which is a chain.
        values: of the program.

    Returns:
        Merges of different terms; none where nothing is to be done.
    """
    left = set(range(len(value.terms)))
    merges: list[Merge] = []
    for source, ways in _by_source(value.terms).items():
        held = {index: way for index, way in ways.items() if index in left}
        if len(held) > 1 or len(value.terms) == 1:  # a chain in a sum is looked at where it ends
            found = _merges(source, held, values)
            merges += found
            left -= {index for merge in found for index in merge.terms}
    is_full = not left and len(merges) == 1
    if is_full or all(term.is_whole for term in value.terms):
        return merges
    return []  # what is left cannot stand by itself


def merged(value: TermValue, values: Values) -> Way | None:
    """A sum as one convolution, where all its terms are put together; None where they are not."""
    merges = plan(value, values)
    if len(merges) != 1 or len(merges[0].terms) != len(value.terms):
        return None
    (merge,) = merges
    nodes = merge.inner | value.spine
    return Way(merge.source, merge.shape, merge.kernel, nodes, merge.shape.weights)


def why_not(terms: Sequence[Term], values: Values) -> str | None:
    """Why terms of one source are not put together; None if they have no source in common."""
    for source, ways in _by_source(terms).items():
        held = list(ways.values())
        if len(held) < 2 or not _holds_convolution(held, values):
            continue
        try:
            shape = summed([way.shape for way in held], _is_closed(source))
        except Different as error:
            return str(error)
        before = sum(way.lowest_cost for way in held)
        if shape.weights > before:
            return (
                f"one convolution would take {shape.weights} products a position in place of "
                f"{before}"
            )
    return None


def _by_source(terms: Sequence[Term]) -> dict[Node, dict[int, Way]]:
    """The terms that are convolutions of each source, by their place.

    Sources of the most terms come first; of those, the farthest.
    """
    held: dict[Node, dict[int, Way]] = {}
    for index, term in enumerate(terms):
        for way in term.ways:
            held.setdefault(way.source, {}).setdefault(index, way)
    # Ways run from the nearest source to the farthest.
    sources = list(held.items())
    sources.reverse()
    sources.sort(key=lambda each: -len(each[1]))
    return dict(sources)


@dataclass(frozen=True)
class _Group:
    """Terms that are one convolution, and the products that it takes."""

    ways: Mapping[int, Way]
    shape: Shape
    cost: int


def _merges(source: Node, held: Mapping[int, Way], values: Values) -> list[Merge]:
    """What becomes one of some terms of a source."""
    groups = [_Group({index: way}, way.shape, way.lowest_cost) for index, way in held.items()]
    groups.sort(key=lambda group: -group.cost)
    done: list[_Group] = []
    while groups:
        first, *groups = groups
        for other in list(groups):
            both = _together(source, (first, other))
            if both is not None:
                first = both
                groups.remove(other)
        done.append(first)
    rest = _together(source, done) if len(done) > 2 else None
    merges = []
    for group in done if rest is None else [rest]:
        ways = list(group.ways.values())
        if (len(ways) > 1 or len(held) == 1) and _holds_convolution(ways, values):
            alone = _together(source, [group])  # a chain of its own is padded alike as well
            if alone is not None:
                merges.append(Merge(source, alone.shape, tuple(group.ways), tuple(ways)))
    return merges


def _together(source: Node, groups: Sequence[_Group]) -> _Group | None:
    """One convolution for all; None where it is not exact or costs more."""
    ways = {index: way for group in groups for index, way in group.ways.items()}
    try:
        shape = summed([way.shape for way in ways.values()], _is_closed(source))
    except Different:
        return None
    cost = sum(group.cost for group in groups)
    return _Group(ways, shape, shape.weights) if shape.weights <= cost else None


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
