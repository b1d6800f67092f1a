"""Which layers a value was computed from, by the graph that autograd records."""

from collections.abc import Sequence

from torch.autograd.graph import Node

Recorded = Node | None
"""What computed a value; None where nothing was recorded."""


def ancestors(layers: Sequence[Recorded], answers: Sequence[Recorded]) -> list[frozenset[int]]:
    """The layers, by their place, that each layer and then all answers were computed from.

    Args:
        layers: what computed the output of each layer, in the order of execution.
        answers: what computed the answers of the network.

    Returns:
        For each layer the places of the layers in front of it, itself included, and at the end
        those of the layers that any answer was computed from.
    """
    own: dict[Node, int] = {}
    for place, node in enumerate(layers):
        if node is not None:
            own[node] = own.get(node, 0) | 1 << place
    masks: dict[Node, int] = {}
    for root in (*layers, *answers):
        if root is not None:
            _fill(root, own, masks)
    reached = 0
    for node in answers:
        reached |= masks[node] if node is not None else 0
    found = [masks[node] if node is not None else 1 << place for place, node in enumerate(layers)]
    return [_places(mask) for mask in (*found, reached)]


# What autograd calls operators that treat all features alike, and those that project them.
_MOVES = ("View", "Unsafe", "Reshape", "Permute", "Transpose", "TBackward", "Clone", "Alias")
_CUTS = ("Slice", "Cat", "Mean", "Squeeze", "Unsqueeze", "Expand", "Roll", "AsStrided")
_PRODUCTS = ("Addmm", "Mm", "Bmm", "Baddbmm", "Convolution", "Linear")


def are_only_projected(layers: Sequence[Recorded], answers: Sequence[Recorded]) -> list[bool]:
    """Whether nothing but projections reads what each layer gives, however it is moved before.

    Args:
        layers: what computed the output of each layer.
        answers: what computed the answers of the network.
    """
    readers: dict[Node, list[Node]] = {}
    waiting = [node for node in answers if node is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        for source, _ in node.next_functions:
            if source is not None:
                readers.setdefault(source, []).append(node)
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)
    ends = set(answers)
    return [node is not None and _ends_in_products(node, readers, ends) for node in layers]


def _ends_in_products(node: Node, readers: dict[Node, list[Node]], ends: set[Recorded]) -> bool:
    waiting, seen = [node], {node}
    while waiting:
        found = waiting.pop()
        if found in ends or not readers.get(found):
            return False
        for reader in readers[found]:
            if reader.name().startswith(_PRODUCTS) or reader in seen:
                continue
            if not reader.name().startswith((*_MOVES, *_CUTS)):
                return False
            seen.add(reader)
            waiting.append(reader)
    return True


def _fill(root: Node, own: dict[Node, int], masks: dict[Node, int]) -> None:
    """Give a node and all behind it a mask with a bit for each layer that it was computed from."""
    waiting = [root]
    while waiting:
        node = waiting[-1]
        if node in masks:
            waiting.pop()
            continue
        sources = [source for source, _ in node.next_functions if source is not None]
        missing = [source for source in sources if source not in masks]
        if missing:
            waiting += missing
            continue
        mask = own.get(node, 0)
        for source in sources:
            mask |= masks[source]
        masks[node] = mask
        waiting.pop()


def _places(mask: int) -> frozenset[int]:
    return frozenset(place for place in range(mask.bit_length()) if mask >> place & 1)
