"""Read values of a program as sums of terms, and each term as a convolution of an earlier value.

A term can be read in several ways: as itself, as a convolution of its operand, as a convolution of
what that operand is computed from, and so on. The last way reads the first value that is no
convolution, has other readers, or is an output of the network. No weights are computed here.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch.fx import Node

from slide_deploy.branches.kernels import Kernel, chain, identity
from slide_deploy.branches.operators import OperatorSteps
from slide_deploy.branches.shapes import CannotMerge, Shape, chained, pointwise
from slide_deploy.branches.steps import (
    Blocked,
    BranchStep,
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
    """One way to read a value: as a convolution of another value.

    Attributes:
        source: the other value.
        shape: shape of the convolution.
        kernel: computes its weights.
        inner: nodes that become unused if the value is computed this way.
        cost: fewest multiplications per output position without this convolution.
        is_itself: whether the value is the source itself.
    """

    source: Node
    shape: Shape
    kernel: Callable[[], Kernel]
    inner: frozenset[Node] = frozenset()
    cost: int = 0
    is_itself: bool = False

    @property
    def lowest_cost(self) -> int:
        """Fewest multiplications per output position, with or without this convolution."""
        return min(self.cost, self.shape.weights)


@dataclass(frozen=True)
class Term:
    """One term of a sum.

    Attributes:
        node: the node whose value, times the factor, is the term.
        factor: factor in the sum.
        ways: ways to read it, including the factor, nearest source first; never empty.
        is_whole: whether it equals ``factor * node``, so that it can stand alone in a sum. A term
            does not if an operator behind the sum was distributed over its terms.
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
        spine: nodes of the sum itself, which become unused once it is rewritten.
    """

    terms: tuple[Term, ...]
    spine: frozenset[Node] = frozenset()


@dataclass
class Values:
    """All values of a program. ``needed`` holds the nodes that an output or a check depends on.

    Args:
        steps: classifies its operators.
        nodes: nodes of the program, in order.
        merged: returns a sum as one convolution if that pays; see ``plan``.
    """

    steps: OperatorSteps
    nodes: Sequence[Node]
    merged: "Callable[[TermValue, Values], Way | None]"
    needed: set[Node] = field(default_factory=set)
    _values: dict[Node, TermValue] = field(default_factory=dict)
    _found: dict[Node, BranchStep | Sum | Blocked] = field(default_factory=dict)
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
        """A key that is equal only for nodes with the same value."""
        if node.op != "call_function" or is_random(node):
            return node
        if is_same(node):
            return self._key(self.first(stripped(node)))
        given = torch.fx.map_arg((node.args, dict(node.kwargs)), self.first)
        return f"{node.target} {given}"

    def first(self, node: Node) -> Node:
        """The first node with the same value."""
        return self._first[stripped(node)]

    def __getitem__(self, node: Node) -> TermValue:
        return self._values[node]

    def found(self, node: Node) -> BranchStep | Sum | Blocked | None:
        """The classification of an operator; None if it is no step and no sum."""
        return self._found.get(node)

    def readers(self, node: Node) -> set[Node]:
        """The nodes that read a value, except those that change nothing."""
        return self._readers.get(stripped(node), set())

    def is_read_elsewhere(self, node: Node, reader: Node) -> bool:
        """Whether a value has readers other than the given one."""
        return self.readers(node) != {reader}

    def _value(self, node: Node) -> TermValue:
        match self._found.get(node):
            case BranchStep() as step:
                return self._of_step(node, step)
            case Sum() as added:
                return self._of_sum(node, added)
        return TermValue((Term(node, 1.0, (self._itself(node),)),))

    def _itself(self, node: Node) -> Way:
        """The way that reads a value as it is."""
        channels, axes = shape(node)[1], len(shape(node)) - 2
        assert isinstance(channels, int)
        kernel = partial(identity, channels, axes)
        return Way(self.first(node), pointwise(channels, axes), kernel, is_itself=True)

    def _read(self, operand: Node, reader: Node) -> TermValue:
        """Read an operand as a sum of terms, or as it is if it has other readers."""
        if not self.is_read_elsewhere(operand, reader):
            return self._values[operand]
        ways: tuple[Way, ...] = (self._itself(operand),)
        found = self._found.get(operand)
        if isinstance(found, BranchStep) and found.role == "padding":  # padding costs nothing
            ways = self._values[operand].terms[0].ways[:2]
        return TermValue((Term(operand, 1.0, ways),))

    def _of_step(self, node: Node, step: BranchStep) -> TermValue:
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

    def _distributed(self, node: Node, step: BranchStep, operand: TermValue) -> TermValue:
        """Distribute a factor and a bias per channel over the terms of a sum."""
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
    """Whether a node matters without readers: an output, or a check."""
    is_call = node.op == "call_function"
    return node.op == "output" or (is_call and node.is_impure() and not is_random(node))


def _times(way: Way, factor: float) -> Way:
    """Scale a way by a factor."""
    if factor == 1:
        return way

    def kernel() -> Kernel:
        given = way.kernel()
        return Kernel(given.shape, given.weight * factor, given.bias * factor)

    return replace(way, kernel=kernel, is_itself=False)


def _composed(
    step: BranchStep, ways: Iterable[Way], kernel: Callable[[], Kernel], nodes: frozenset[Node]
) -> Iterator[Way]:
    """Extend the ways to read an operand by an operator; only exact ones are returned.

    Args:
        step: the operator.
        ways: ways to read its operand.
        kernel: computes the operator's weights.
        nodes: nodes of the operator; empty if they belong to the spine of a sum.
    """
    for way in ways:
        try:
            shape = chained(step.shape, way.shape, partial(_has_bias, way))
        except CannotMerge:
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
