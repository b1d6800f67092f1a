"""Find the queries, keys and values of a slide attention in a traced program.

The search starts at the one softmax over k*k offsets:

    q      the factor of the logits of which each element reads a single position
    k, v   the last values of which each element reads a single position, on every path to the
           logits (k) and to the output (v)
    out    the weighted sum of the values over the offsets: one number per feature and position

No layout is assumed. To find the position of each element, the input is changed at some of its
positions, and the elements that change are recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.foreign.program import AttentionProgram, aten, is_one_of

_MULTIPLICATIONS = (aten.mul, aten.matmul, aten.bmm, aten.mm, aten.einsum, aten.linear)
_SOFTMAX = (aten.softmax, aten._softmax)
# Smallest relative change of an element that counts as a change.
_CHANGED = 1e-9


class UnreadableError(Exception):
    """A program is not a slide attention. The message is a clause that gives the reason.

    Attributes:
        has_softmax: whether the program has a softmax over the offsets nevertheless.
    """

    def __init__(self, message: str, has_softmax: bool = True) -> None:
        super().__init__(message)
        self.has_softmax = has_softmax


@dataclass(frozen=True)
class Anchors:
    """The nodes that delimit a slide attention in a program. The module docstring defines them.

    Attributes:
        q: the queries.
        k: the keys, before neighbours are gathered.
        v: the values, before neighbours are gathered.
        logits: input of the softmax.
        softmax: the softmax over the offsets.
        axis: axis of the softmax.
        out: input of the output projection.
        places: for each of q, k, v and out, (feature, position) indices into its flattened value.
    """

    q: Node
    k: Node
    v: Node
    logits: Node
    softmax: Node
    axis: int
    out: Node
    places: dict[Node, Tensor]


def find_anchors(program: AttentionProgram, kernel_size: int) -> Anchors:
    """Find the anchors of a slide attention in a program.

    Args:
        program: traced layer. One alias node is inserted into it, after the queries.
        kernel_size: side of the neighbourhood, k.

    Raises:
        UnreadableError: if the program is not a slide attention.
    """
    softmax, axis = _softmax(program, kernel_size**2)
    _refuse_bypass(program, softmax)
    (logits,) = softmax.all_input_nodes
    places = _places(program, softmax)
    q = _queries(program, logits, places)
    k = _last_local_node(program, logits, q, places, "keys")
    v = _last_local_node(program, program.y, softmax, places, "values")
    features = len(places[q])
    out = _weighted_sum(program, softmax, features)
    places[out] = _places_by_gradient(program, out)
    if len(places[out]) != features:
        raise UnreadableError("its values are not summed over the offsets")
    kept = {node: places[node] for node in (q, k, v, out)}
    return Anchors(q, k, v, logits, softmax, axis, out, kept)


def random_positive(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Return numbers between 0.5 and 1.5, so that sums and products of them do not vanish."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(tuple(shape), generator=generator, dtype=torch.float64) + 0.5


def shape_of(node: Node) -> tuple[int, ...]:
    """Return the shape of a node's value."""
    return tuple(node.meta["val"].shape)


def differs(value: Tensor, base: Tensor) -> Tensor:
    """Return a mask of the elements that changed."""
    return (value - base).abs() > _CHANGED * (1 + base.abs())


def find_sources(respond: Callable[[Tensor], list[Tensor]], count: int) -> list[Tensor]:
    """Find the single source that each element depends on.

    Half of the sources are changed at a time, so that log2(count) pairs of runs are enough.

    Args:
        respond: changes the sources that a mask (count) selects. It returns, for each of several
            tensors, a mask of the elements that changed.
        count: number of sources.

    Returns:
        For each of those tensors, the number of the source of every element; -1 where an element
        depends on no source or on more than one.
    """
    numbers = torch.arange(count)
    found: list[Tensor] = []
    single: list[Tensor] = []
    for bit in range(max(1, (count - 1).bit_length())):
        half = (numbers >> bit) & 1
        zeros, ones = respond(half == 0), respond(half == 1)
        # An element with a single source is changed by exactly one of the two halves.
        once = [zero ^ one for zero, one in zip(zeros, ones, strict=True)]
        single = [a & b for a, b in zip(single, once, strict=True)] if single else once
        digits = [one.long() << bit for one in ones]
        found = [a + b for a, b in zip(found, digits, strict=True)] if found else digits
    return [torch.where(one, number, -1) for one, number in zip(single, found, strict=True)]


def _softmax(program: AttentionProgram, offsets: int) -> tuple[Node, int]:
    found = [
        (node, axis)
        for node in program.graph.nodes
        if is_one_of(node, _SOFTMAX)
        and node in program.varying
        and shape_of(node)[axis := int(node.args[1])] == offsets
    ]
    if len(found) != 1:
        count = len(found) or "no"
        raise UnreadableError(
            f"its program has {count} softmax{'es' if found else ''} over {offsets} offsets",
            has_softmax=bool(found),
        )
    return found[0]


def _refuse_bypass(program: AttentionProgram, softmax: Node) -> None:
    """Refuse a program whose output depends on its input while all attention weights are zero."""
    weights = torch.zeros(shape_of(softmax), dtype=torch.float64)
    one, other = (
        program.evaluate(
            [program.y],
            {program.x: random_positive(program.shape, seed), softmax: weights},
            program.random,
        )[0]
        for seed in (0, 1)
    )
    if bool(differs(one, other).any()):
        raise UnreadableError(
            "its input reaches its output around the attention, as in a residual connection"
        )


def _by_source(found: Tensor, count: int) -> Tensor | None:
    """Return the indices of the elements of each source.

    Returns:
        Indices (element, source); None if an element has no single source, or if the sources have
        different numbers of elements.
    """
    flat = found.flatten()
    if not flat.numel() or int(flat.min()) < 0:
        return None
    if len(set(flat.bincount(minlength=count).tolist())) > 1:
        return None
    return flat.argsort(stable=True).reshape(count, -1).T


def _places(program: AttentionProgram, softmax: Node) -> dict[Node, Tensor]:
    """Map every node before the softmax that reads a single position to its (feature, position)."""
    height, width = program.shape[2:]
    after = program.after(softmax)
    nodes = [
        node
        for node in program.graph.nodes
        if node in program.varying
        and node not in after
        and isinstance(value := node.meta.get("val"), Tensor)
        and value.is_floating_point()
    ]
    start, step = random_positive(program.shape), random_positive(program.shape, 1)
    before = program.evaluate(nodes, {program.x: start}, program.random)

    def respond(mask: Tensor) -> list[Tensor]:
        moved = start + step * mask.reshape(height, width)
        values = program.evaluate(nodes, {program.x: moved}, program.random)
        return [differs(*pair) for pair in zip(values, before, strict=True)]

    found = zip(nodes, find_sources(respond, height * width), strict=True)
    places = {node: _by_source(numbers, height * width) for node, numbers in found}
    return {node: place for node, place in places.items() if place is not None}


def _places_by_gradient(program: AttentionProgram, out: Node) -> Tensor:
    """Return the (feature, position) indices of a node that is projected position by position."""
    height, width = program.shape[2:]
    factors = random_positive(program.shape, 1)

    def respond(mask: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            value = random_positive(shape_of(out)).requires_grad_()
            (y,) = program.evaluate([program.y], {out: value}, program.random)
            weighted = (y * factors * mask.reshape(height, width)).sum()
        return [torch.autograd.grad(weighted, value)[0] != 0]

    places = _by_source(find_sources(respond, height * width)[0], height * width)
    if places is None:
        raise UnreadableError("its last projection reads more than one position")
    return places


def _queries(program: AttentionProgram, logits: Node, places: dict[Node, Tensor]) -> Node:
    """Find the queries, and separate them from their other users by an alias node."""
    factors: dict[Node, set[Node]] = {}
    for node in program.between(program.x, logits):
        varying = [each for each in node.all_input_nodes if each in program.varying]
        if is_one_of(node, _MULTIPLICATIONS) and len(varying) > 1:
            for each in varying:
                if each in places:
                    factors.setdefault(each, set()).add(node)
    if len(factors) != 1:
        raise UnreadableError(
            "its logits are not the product of one query per position with its neighbours"
        )
    ((query, users),) = factors.items()
    while True:  # If the query is repeated for every offset, take the node before the repetition.
        parents = [each for each in query.all_input_nodes if each in program.varying]
        if len(parents) != 1 or parents[0] not in places:
            break
        if len(places[parents[0]]) >= len(places[query]):
            break
        query, users = parents[0], {query}
    apart = program.separate(query, users)
    places[apart] = places[query]
    return apart


def _last_local_node(
    program: AttentionProgram, target: Node, given: Node, places: dict[Node, Tensor], what: str
) -> Node:
    gates = program.gates(program.x, target, (given,))
    found = [node for node in gates if node in places]
    if not found:
        raise UnreadableError(f"its {what} do not come from one feature map")
    return found[-1]


def _weighted_sum(program: AttentionProgram, softmax: Node, features: int) -> Node:
    """Find the first node after the softmax, on every path, with one number per feature."""
    count = features * program.shape[2] * program.shape[3]
    values = set(program.gates(program.x, program.y, (softmax,)))
    for node in program.gates(softmax, program.y):
        if node in values and node.meta["val"].numel() == count:
            return node
    raise UnreadableError("its values are not summed over the offsets")
