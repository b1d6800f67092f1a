"""Describe the axes of a value as split, permuted and joined axes of another value.

This covers reshapes, permutations and regular slices. Every axis of the source is split into
pieces, outermost first, and every axis of the result is a sequence of pieces:

    (B, N, 3 h d) -> reshape (B, N, 3, h, d) -> permute (3, B, h, N, d) -> [0]

has the source (B)(N)(p h d) and the result (B)(h)(N)(d), with the piece p fixed at 0. Two chains of
operators with the same arrangement compute the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true

from slide_deploy.program.traced import same_size, same_sizes

Size = int | torch.SymInt
Pieces = tuple[int, ...]


def divides(part: Size, whole: Size) -> bool:
    """Whether a size is a multiple of another one for all values of open sizes."""
    # The type stubs of torch do not allow the division of a number by an open size.
    return bool(statically_known_true(whole % part == 0))  # type: ignore[operator]


@dataclass(frozen=True)
class Arrangement:
    """The axes of a value, as pieces of the axes of its source.

    Attributes:
        sizes: size of each piece.
        source: the pieces of each axis of the source, outermost first. Axes of size one have no
            piece, except the first axis: a batch of one is treated like any batch.
        axes: the pieces of each axis of the value.
        fixed: pieces of the source at which the value has a single position, and that position.
    """

    sizes: Mapping[int, Size]
    source: tuple[Pieces, ...]
    axes: tuple[Pieces, ...]
    fixed: Mapping[int, int]

    @classmethod
    def of(cls, shape: Sequence[Size]) -> "Arrangement":
        """The arrangement of a value that is its own source."""
        sizes = {
            axis: size for axis, size in enumerate(shape) if axis == 0 or not same_size(size, 1)
        }
        axes = tuple((axis,) if axis in sizes else () for axis in range(len(shape)))
        return cls(sizes, axes, axes, {})

    @property
    def shape(self) -> tuple[Size, ...]:
        """The shape of the value."""
        return tuple(self.size(axis) for axis in self.axes)

    @property
    def order(self) -> Pieces:
        """The pieces of the value in memory order."""
        return tuple(piece for axis in self.axes for piece in axis)

    @property
    def source_order(self) -> Pieces:
        """The pieces of the source in memory order."""
        return tuple(piece for axis in self.source for piece in axis)

    def size(self, pieces: Pieces) -> Size:
        """The size of an axis with these pieces."""
        return prod(self.sizes[piece] for piece in pieces)

    def with_axes(self, axes: Sequence[Pieces]) -> "Arrangement":
        """The same source with other axes."""
        return replace(self, axes=tuple(axes))

    def permuted(self, order: Sequence[int]) -> "Arrangement":
        """The arrangement after a permutation of axes."""
        return self.with_axes([self.axes[axis] for axis in order])

    def cut(self, piece: int, inner: Size) -> "Arrangement":
        """Split a piece in two; the inner one gets the given size."""
        outer_id, inner_id = max(self.sizes) + 1, max(self.sizes) + 2
        sizes = dict(self.sizes)
        sizes[outer_id], sizes[inner_id] = sizes.pop(piece) // inner, inner

        def pieces(axis: Pieces) -> Pieces:
            at = axis.index(piece) if piece in axis else len(axis)
            parts = (outer_id, inner_id) if piece in axis else ()
            return (*axis[:at], *parts, *axis[at + 1 :])

        return Arrangement(
            sizes, tuple(map(pieces, self.source)), tuple(map(pieces, self.axes)), self.fixed
        )

    def reshaped(self, shape: Sequence[Size]) -> "Arrangement | None":
        """The arrangement after a reshape; None if an axis is no product of pieces."""
        sizes = [*self.sizes.values(), *shape]
        if any(isinstance(size, int) and size < 1 for size in sizes):
            return None
        held, waiting = self, list(self.order)
        axes: list[Pieces | None] = [None] * len(shape)
        open_axis = -1
        tail: Pieces = ()
        for axis in reversed(range(len(shape))):
            held, taken, is_whole = _take(held, waiting, shape[axis], from_right=True)
            if not is_whole:
                open_axis, tail = axis, taken
                break
            axes[axis] = taken
        for axis in range(open_axis):
            held, taken, is_whole = _take(held, waiting, shape[axis], from_right=False)
            if not is_whole:
                return None
            axes[axis] = taken
        if open_axis >= 0:
            axes[open_axis] = (*waiting, *tail)
        elif axes and axes[0] is not None:  # what is left has one element
            axes[0] = (*waiting, *axes[0])
        found = held.with_axes([axis for axis in axes if axis is not None])
        return found if same_sizes(found.shape, shape) else None

    def sliced(self, axis: int, start: int, step: int) -> "Arrangement | None":
        """The arrangement after a slice of every ``step``-th position of an axis, to its end."""
        size = self.size(self.axes[axis])
        if step < 2 or not 0 <= start < step or not isinstance(size, int) or size % step:
            return None
        shape = self.shape
        cut = self.reshaped((*shape[:axis], size // step, step, *shape[axis + 1 :]))
        return None if cut is None else cut.selected(axis + 1, start)

    def narrowed(self, axis: int, start: int, length: int) -> "Arrangement | None":
        """The arrangement after taking one of the equal parts of an axis."""
        size = self.size(self.axes[axis])
        if not isinstance(size, int) or length < 1 or size % length or start % length:
            return None
        shape = self.shape
        cut = self.reshaped((*shape[:axis], size // length, length, *shape[axis + 1 :]))
        return None if cut is None else cut.selected(axis, start // length)

    def selected(self, axis: int, index: int) -> "Arrangement | None":
        """The arrangement after selecting one position of an axis; None if the axis is open."""
        fixed = dict(self.fixed)
        for piece in reversed(self.axes[axis]):
            size = self.sizes[piece]
            if not isinstance(size, int):
                return None
            index, fixed[piece] = divmod(index, size)
        axes = (*self.axes[:axis], *self.axes[axis + 1 :])
        return Arrangement(self.sizes, self.source, axes, fixed)


def _take(
    held: Arrangement, waiting: list[int], size: Size, *, from_right: bool
) -> tuple[Arrangement, Pieces, bool]:
    """Take pieces from one end to form an axis; splits a piece if necessary.

    Returns:
        The arrangement, the taken pieces in order, and whether they have the requested size.
    """
    taken: list[int] = []
    at = -1 if from_right else 0
    if same_size(size, 1):  # takes a batch of one if it comes next
        is_next = waiting and same_size(held.sizes[waiting[at]], 1)
        return held, (waiting.pop(at),) if is_next else (), True
    while not same_size(size, 1):
        if not waiting:
            return held, tuple(taken), False
        piece = waiting[at]
        own = held.sizes[piece]
        if divides(own, size):
            size = size // own
            waiting.pop(at)
        elif divides(size, own):
            held = held.cut(piece, size if from_right else own // size)
            outer, inner = max(held.sizes) - 1, max(held.sizes)
            waiting[at : len(waiting) if from_right else 1] = [outer if from_right else inner]
            piece, size = (inner if from_right else outer), 1
        else:
            return held, tuple(taken), False
        taken.insert(0 if from_right else len(taken), piece)
    return held, tuple(taken), True
