"""Decide which terms of a sum become one convolution: those of one source, if that costs no more.

The cost is the number of multiplications per output position. Two convolutions are merged if the
result costs at most as much as both: a 1x1 is merged into a 3x3, but a dense 1x1 beside a depthwise
3x3 stays, because together they would be a dense 3x3. The most expensive convolution absorbs the
others one after the other. The rest is merged if that pays for all of it. Factors, normalisations
and additions count as free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from slide_deploy.branches.kernels import Kernel, add
from slide_deploy.branches.shapes import CannotMerge, Shape, summed
from slide_deploy.branches.steps import BranchStep
from slide_deploy.branches.terms import Term, TermValue, Values, Way
from slide_deploy.program.traced import shape


@dataclass(frozen=True)
class Merge:
    """A set of terms that become one convolution.

    Attributes:
        source: the value that the convolution reads.
        shape: geometry of the convolution.
        terms: indices of the terms in the sum.
        ways: each term as a convolution of the source.
    """

    source: Node
    shape: Shape
    terms: tuple[int, ...]
    ways: tuple[Way, ...]

    @property
    def inner(self) -> frozenset[Node]:
        """The nodes that become unused."""
        return frozenset().union(*(way.inner for way in self.ways))

    def kernel(self) -> Kernel:
        """Compute the weights of the convolution."""
        return add([way.kernel() for way in self.ways], self.shape)


def plan(value: TermValue, values: Values) -> list[Merge]:
    """Plan the merges of a value.

    Args:
        value: a sum, or a single term, which is a chain.
        values: values of the program.

    Returns:
        Merges of disjoint terms; empty if nothing pays.
    """
    left = set(range(len(value.terms)))
    merges: list[Merge] = []
    for source, ways in _by_source(value.terms).items():
        held = {index: way for index, way in ways.items() if index in left}
        # A chain within a sum is examined at its own end.
        if len(held) > 1 or len(value.terms) == 1:
            found = _merges(source, held, values)
            merges += found
            left -= {index for merge in found for index in merge.terms}
    is_full = not left and len(merges) == 1
    if is_full or all(term.is_whole for term in value.terms):
        return merges
    return []  # the remaining terms cannot stand alone


def merged(value: TermValue, values: Values) -> Way | None:
    """A sum as one convolution if all of its terms are merged, else None."""
    merges = plan(value, values)
    if len(merges) != 1 or len(merges[0].terms) != len(value.terms):
        return None
    (merge,) = merges
    nodes = merge.inner | value.spine
    return Way(merge.source, merge.shape, merge.kernel, nodes, merge.shape.weights)


def why_not(terms: Sequence[Term], values: Values) -> str | None:
    """The reason why terms of one source are not merged; None if they have no common source."""
    for source, ways in _by_source(terms).items():
        held = list(ways.values())
        if len(held) < 2 or not _holds_convolution(held, values):
            continue
        try:
            shape = summed([way.shape for way in held], _is_closed(source))
        except CannotMerge as error:
            return str(error)
        before = sum(way.lowest_cost for way in held)
        if shape.weights > before:
            return (
                f"one convolution would take {shape.weights} multiplications per output position "
                f"instead of {before}"
            )
    return None


def _by_source(terms: Sequence[Term]) -> dict[Node, dict[int, Way]]:
    """Group the terms by source; each maps the index of a term to its way.

    Sources of the most terms come first; among those, the farthest.
    """
    held: dict[Node, dict[int, Way]] = {}
    for index, term in enumerate(terms):
        for way in term.ways:
            held.setdefault(way.source, {}).setdefault(index, way)
    # The ways of a term are sorted from the nearest source to the farthest.
    sources = list(held.items())
    sources.reverse()
    sources.sort(key=lambda each: -len(each[1]))
    return dict(sources)


@dataclass(frozen=True)
class _Group:
    """Terms that form one convolution, and its multiplications per output position."""

    ways: Mapping[int, Way]
    shape: Shape
    cost: int


def _merges(source: Node, held: Mapping[int, Way], values: Values) -> list[Merge]:
    """Merge terms of one source greedily."""
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
            alone = _together(source, [group])  # gives a single chain symmetric padding as well
            if alone is not None:
                merges.append(Merge(source, alone.shape, tuple(group.ways), tuple(ways)))
    return merges


def _together(source: Node, groups: Sequence[_Group]) -> _Group | None:
    """Merge groups into one convolution; None if that is not exact or costs more."""
    ways = {index: way for group in groups for index, way in group.ways.items()}
    try:
        shape = summed([way.shape for way in ways.values()], _is_closed(source))
    except CannotMerge:
        return None
    cost = sum(group.cost for group in groups)
    return _Group(ways, shape, shape.weights) if shape.weights <= cost else None


def _holds_convolution(ways: Sequence[Way], values: Values) -> bool:
    """Whether the ways contain a convolution, and at least one more operator or way to merge."""
    roles = [
        step.role
        for way in ways
        for step in map(values.found, way.inner)
        if isinstance(step, BranchStep) and step.is_part
    ]
    return "convolution" in roles and len(roles) + len(ways) > 2


def _is_closed(source: Node) -> bool:
    return not any(isinstance(each, torch.SymInt) for each in shape(source)[2:])
