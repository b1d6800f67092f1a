"""Values of a program as sums of terms, and each term as a convolution of values before it.

A term has several ways to be read: as itself, as a convolution of its operand, as a convolution of
what that operand is computed from, and so on down to the first value that is no convolution, is
read elsewhere, or is an answer of the network. No numbers are computed here.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch.fx import Node

from slide_deploy.branches.kernels import Kernel, chain, identity
from slide_deploy.branches.operators import OperatorSteps
from slide_deploy.branches.shapes import Different, Shape, chained, pointwise
from slide_deploy.branches.steps import (
    Blocked,
    Step,
    Sum,
    is_map,
    is_same,
    linear_part,
    stripped,
)
from slide_deploy.program.constants import is_random
from slide_deploy.program.traced import shape


@dataclass(frozen=True)
class Way:
    """A value as a convolution of another.

    Attributes:
        source: the other value.
        shape: of the convolution.
        kernel: computes it.
        inner: nodes that nobody needs any more once the value is computed so.
        cost: products that a position of the value takes without it, at best.
        is_itself: whether the value is the source, times 1.
    """

    source: Node
    shape: Shape
    kernel: Callable[[], Kernel]
    inner: frozenset[Node] = frozenset()
    cost: int = 0
    is_itself: bool = False

    @property
    def lowest_cost(self) -> int:
        """Products that a position takes at best, as it is or as this convolution."""
        return min(self.cost, self.shape.weights)


@dataclass(frozen=True)
class Term:
    """A part of a sum.

    Attributes:
        node: whose value it is, times the factor.
        factor: in the sum.
        ways: to read it, factor included, that from the nearest source first; never empty.
        is_whole: whether it is ``factor * node``, so that it can stand in a sum by itself. What
            follows the sum was drawn into the others.
    """

    node: Node
    factor: float
    ways: tuple[Way, ...]
    is_whole: bool = True


@dataclass(frozen=True)
class TermValue:
    """A node as a sum of terms.

    Attributes:
        terms: at least one.
        spine: nodes of the sum itself, which nobody needs once it is written anew.
    """

    terms: tuple[Term, ...]
    spine: frozenset[Node] = frozenset()


@dataclass
class Values:
    """All values of a program; ``needed`` holds the nodes that an answer or a check depends on.

    Args:
        steps: reads its operators.
        nodes: of the program, in order.
        merged: the one way that all terms of a sum are put together, if that pays; see ``plan``.
    """

    steps: OperatorSteps
    nodes: Sequence[Node]
    merged: "Callable[[TermValue, Values], Way | None]"
    needed: set[Node] = field(default_factory=set)
    _values: dict[Node, TermValue] = field(default_factory=dict)
    _found: dict[Node, Step | Sum | Blocked] = field(default_factory=dict)
    _readers: dict[Node, set[Node]] = field(default_factory=dict)
    _first: dict[Node, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        alike: dict[object, Node] = {}
        for node in reversed(self.nodes):
            if self.needed.intersection(node.users) or _has_effects(node):
                self.needed.add(node)
        for node in self.nodes:
            self._first[node] = alike.setdefault(self._key(node), node)
            if node in self.needed and not is_same(node):
                for source in node.all_input_nodes:
                    self._readers.setdefault(stripped(source), set()).add(node)
        for node in self.nodes:
            step = None if node.op != "call_function" else self.steps.of(node)
            if step is not None:
                self._found[node] = step
            if is_map(node):
                self._values[node] = self._value(node)

    def _key(self, node: Node) -> object:
        """The same for two nodes that are sure to give the same."""
        if node.op != "call_function" or is_random(node):
            return node
        if is_same(node):
            return self._key(self.first(stripped(node)))
        given = torch.fx.map_arg((node.args, dict(node.kwargs)), self.first)
        return f"{node.target} {given}"

    def first(self, node: Node) -> Node:
        """The first node that gives the same value."""
        return self._first[stripped(node)]

    def __getitem__(self, node: Node) -> TermValue:
        return self._values[node]

    def found(self, node: Node) -> Step | Sum | Blocked | None:
        """What an operator is."""
        return self._found.get(node)

    def readers(self, node: Node) -> set[Node]:
        """The nodes that read a value, those left out that change nothing."""
        return self._readers.get(stripped(node), set())

    def is_read_elsewhere(self, node: Node, reader: Node) -> bool:
        """Whether anybody but one reader needs a value."""
        return self.readers(node) != {reader}

    def _value(self, node: Node) -> TermValue:
        match self._found.get(node):
            case Step() as step:
                return self._of_step(node, step)
            case Sum() as added:
                return self._of_sum(node, added)
        return TermValue((Term(node, 1.0, (self._itself(node),)),))

    def _itself(self, node: Node) -> Way:
        """A value as it is."""
        channels, axes = shape(node)[1], len(shape(node)) - 2
        assert isinstance(channels, int)
        kernel = partial(identity, channels, axes)
        return Way(self.first(node), pointwise(channels, axes), kernel, is_itself=True)

    def _read(self, operand: Node, reader: Node) -> TermValue:
        """An operand as a sum of terms; as it is if somebody else needs it."""
        if not self.is_read_elsewhere(operand, reader):
            return self._values[operand]
        ways: tuple[Way, ...] = (self._itself(operand),)
        found = self._found.get(operand)
        if isinstance(found, Step) and found.role == "padding":  # which costs nothing
            ways = self._values[operand].terms[0].ways[:2]
        return TermValue((Term(operand, 1.0, ways),))

    def _of_step(self, node: Node, step: Step) -> TermValue:
        operand = self._read(step.operand, step.reader)
        if len(operand.terms) == 1:
            below: tuple[Way, ...] = operand.terms[0].ways
        elif step.role in ("factor", "normalisation"):
            return self._distributed(node, step, operand)
        else:
            way = self.merged(operand, self)
            below = (self._itself(step.operand), *([] if way is None else [way]))
        ways = _composed(step, below, step.kernel, frozenset((node, step.reader)))
        return TermValue((Term(node, 1.0, (self._itself(node), *ways)),))

    def _distributed(self, node: Node, step: Step, operand: TermValue) -> TermValue:
        """A factor and a bias for each channel, drawn into the terms of a sum."""
        terms = []
        for index, term in enumerate(operand.terms):
            kernel = step.kernel if index == 0 else linear_part(step.kernel)
            ways = tuple(_composed(step, term.ways, kernel, frozenset()))
            terms.append(replace(term, ways=ways, is_whole=False))
        return TermValue(tuple(terms), operand.spine | {node, step.reader})

    def _of_sum(self, node: Node, added: Sum) -> TermValue:
        terms: list[Term] = []
        spine = {node, *added.also}
        for operand, factor in added.addends:
            value = self._read(operand, added.reader)
            for term in value.terms:
                ways = tuple(_times(way, factor) for way in term.ways)
                terms.append(replace(term, factor=term.factor * factor, ways=ways))
            spine |= value.spine
        return TermValue(tuple(terms), frozenset(spine))


def _has_effects(node: Node) -> bool:
    """Whether something depends on a node that nobody reads: an answer, or a check."""
    is_call = node.op == "call_function"
    return node.op == "output" or (is_call and node.is_impure() and not is_random(node))


def _times(way: Way, factor: float) -> Way:
    """A way to read a value times a number."""
    if factor == 1:
        return way

    def kernel() -> Kernel:
        given = way.kernel()
        return Kernel(given.shape, given.weight * factor, given.bias * factor)

    return replace(way, kernel=kernel, is_itself=False)


def _composed(
    step: Step, ways: Iterable[Way], kernel: Callable[[], Kernel], nodes: frozenset[Node]
) -> Iterator[Way]:
    """The ways to read an operator, from those to read its operand; those that are exact.

    Args:
        step: the operator.
        ways: to read its operand.
        kernel: of the operator.
        nodes: of the operator; none where they belong to the spine of a sum.
    """
    for way in ways:
        try:
            shape = chained(step.shape, way.shape, partial(_has_bias, way))
        except Different:
            continue
        yield Way(
            source=way.source,
            shape=shape,
            kernel=kernel if way.is_itself else partial(_chain, kernel, way.kernel, shape),
            inner=nodes | way.inner,
            cost=step.cost + math.prod(step.shape.stride) * way.lowest_cost,
        )


def _chain(second: Callable[[], Kernel], first: Callable[[], Kernel], shape: Shape) -> Kernel:
    return chain(second(), first(), shape)


def _has_bias(way: Way) -> bool:
    return bool(way.kernel().bias.any())
