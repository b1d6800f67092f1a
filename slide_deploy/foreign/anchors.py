"""Where in a traced program a slide attention has its queries, keys and values.

One softmax over k*k offsets marks the place. From there:

    q      what is multiplied to make the logits, and reads one position alone
    k, v   the last maps that read one position alone, on all paths to the logits and to the answer
    out    the values, weighted and summed over the offsets: one number a feature and position

Which element belongs to which position is found by changing the map at some of its positions and
looking at what changes, so that no layout is assumed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.foreign.program import AttentionProgram, aten, is_one_of

_PRODUCTS = (aten.mul, aten.matmul, aten.bmm, aten.mm, aten.einsum, aten.linear)
_SOFTMAX = (aten.softmax, aten._softmax)
# An element that changes by less of itself did not change.
_CHANGED = 1e-9


class UnreadableError(Exception):
    """A program is no slide attention; the text is a clause that says why.

    Attributes:
        alike: whether it has a softmax over the offsets all the same.
    """

    def __init__(self, text: str, alike: bool = True) -> None:
        super().__init__(text)
        self.alike = alike


@dataclass(frozen=True)
class Anchors:
    """Nodes of a program; see the head of this file.

    Attributes:
        q: of one feature in each row of ``places[q]``; so are the others.
        k: before neighbours are brought in.
        v: the same.
        logits: what the softmax reads.
        softmax: over the offsets.
        axis: of the softmax.
        out: before the last projection.
        places: elements of q, k, v and out: (feature, position) to an index into the flat tensor.
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
    """Find a slide attention in a program.

    Args:
        program: of a layer; a node is put into it.
        kernel_size: side of the neighbourhood.

    Raises:
        UnreadableError: if there is none.
    """
    softmax, axis = _softmax(program, kernel_size**2)
    _refuse_ways_past(program, softmax)
    (logits,) = softmax.all_input_nodes
    places = _places(program, softmax)
    q = _queries(program, logits, places)
    k = _last_map(program, logits, q, places, "keys")
    v = _last_map(program, program.y, softmax, places, "values")
    features = len(places[q])
    out = _out(program, softmax, features)
    places[out] = _places_behind(program, out)
    if len(places[out]) != features:
        raise UnreadableError("its values are not summed over the offsets")
    kept = {node: places[node] for node in (q, k, v, out)}
    return Anchors(q, k, v, logits, softmax, axis, out, kept)


def drawn(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Positive numbers, none of them small: sums and products of them do not vanish."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(tuple(shape), generator=generator, dtype=torch.float64) + 0.5


def shape_of(node: Node) -> tuple[int, ...]:
    """The shape of a node's value."""
    return tuple(node.meta["val"].shape)


def differs(value: Tensor, base: Tensor) -> Tensor:
    """Which elements changed."""
    return (value - base).abs() > _CHANGED * (1 + base.abs())


def sources(respond: Callable[[Tensor], list[Tensor]], count: int) -> list[Tensor]:
    """Which one of several sources each element depends on; -1 for none and for more than one.

    Args:
        respond: changes the sources that a mask (count) selects and says which elements of some
            tensors changed.
        count: of the sources.

    Returns:
        A number for every element of those tensors.
    """
    numbers = torch.arange(count)
    found: list[Tensor] = []
    single: list[Tensor] = []
    for bit in range(max(1, (count - 1).bit_length())):
        half = (numbers >> bit) & 1
        zeros, ones = respond(half == 0), respond(half == 1)
        # What depends on one source is changed by that half of the sources that has it.
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
            alike=bool(found),
        )
    return found[0]


def _refuse_ways_past(program: AttentionProgram, softmax: Node) -> None:
    """Where all weights of the softmax are zero, no answer depends on the map."""
    weights = torch.zeros(shape_of(softmax), dtype=torch.float64)
    one, other = (
        program.evaluate(
            [program.y], {program.x: drawn(program.shape, seed), softmax: weights}, program.random
        )[0]
        for seed in (0, 1)
    )
    if bool(differs(one, other).any()):
        raise UnreadableError("its map reaches the answer past the attention, as a residual does")


def _by_source(found: Tensor, count: int) -> Tensor | None:
    """(element, source) to an index, where every source has as many elements; else None."""
    flat = found.flatten()
    if not flat.numel() or int(flat.min()) < 0:
        return None
    if len(set(flat.bincount(minlength=count).tolist())) > 1:
        return None
    return flat.argsort(stable=True).reshape(count, -1).T


def _places(program: AttentionProgram, softmax: Node) -> dict[Node, Tensor]:
    """Of everything before a softmax that reads one position alone."""
    height, width = program.shape[2:]
    behind = program.after(softmax)
    nodes = [
        node
        for node in program.graph.nodes
        if node in program.varying
        and node not in behind
        and isinstance(value := node.meta.get("val"), Tensor)
        and value.is_floating_point()
    ]
    start, step = drawn(program.shape), drawn(program.shape, 1)
    before = program.evaluate(nodes, {program.x: start}, program.random)

    def respond(mask: Tensor) -> list[Tensor]:
        moved = start + step * mask.reshape(height, width)
        values = program.evaluate(nodes, {program.x: moved}, program.random)
        return [differs(*pair) for pair in zip(values, before, strict=True)]

    found = zip(nodes, sources(respond, height * width), strict=True)
    places = {node: _by_source(numbers, height * width) for node, numbers in found}
    return {node: place for node, place in places.items() if place is not None}


def _places_behind(program: AttentionProgram, out: Node) -> Tensor:
    """Of a node that the answer reads position by position."""
    height, width = program.shape[2:]
    factors = drawn(program.shape, 1)

    def respond(mask: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            value = drawn(shape_of(out)).requires_grad_()
            (answer,) = program.evaluate([program.y], {out: value}, program.random)
            weighted = (answer * factors * mask.reshape(height, width)).sum()
        return [torch.autograd.grad(weighted, value)[0] != 0]

    places = _by_source(sources(respond, height * width)[0], height * width)
    if places is None:
        raise UnreadableError("its last projection reads more than one position")
    return places


def _queries(program: AttentionProgram, logits: Node, places: dict[Node, Tensor]) -> Node:
    """What is multiplied to make the logits, set apart from everything else that it is used for."""
    factors: dict[Node, set[Node]] = {}
    for node in program.between(program.x, logits):
        varying = [each for each in node.all_input_nodes if each in program.varying]
        if is_one_of(node, _PRODUCTS) and len(varying) > 1:
            for each in varying:
                if each in places:
                    factors.setdefault(each, set()).add(node)
    if len(factors) != 1:
        raise UnreadableError(
            "its logits are not the product of one query at each position with its neighbours"
        )
    ((query, users),) = factors.items()
    while True:  # Repeated for every offset, it is to be read before that.
        parents = [each for each in query.all_input_nodes if each in program.varying]
        if len(parents) != 1 or parents[0] not in places:
            break
        if len(places[parents[0]]) >= len(places[query]):
            break
        query, users = parents[0], {query}
    apart = program.separate(query, users)
    places[apart] = places[query]
    return apart


def _last_map(
    program: AttentionProgram, target: Node, given: Node, places: dict[Node, Tensor], what: str
) -> Node:
    gates = program.gates(program.x, target, (given,))
    found = [node for node in gates if node in places]
    if not found:
        raise UnreadableError(f"its {what} do not come from one map")
    return found[-1]


def _out(program: AttentionProgram, softmax: Node, features: int) -> Node:
    """The first node behind the softmax, on every path of the values, of one number a feature."""
    count = features * program.shape[2] * program.shape[3]
    values = set(program.gates(program.x, program.y, (softmax,)))
    for node in program.gates(softmax, program.y):
        if node in values and node.meta["val"].numel() == count:
            return node
    raise UnreadableError("its values are not summed over the offsets")
