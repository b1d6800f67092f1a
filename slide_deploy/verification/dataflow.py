"""Find the layers that a value was computed from, in the graph that autograd records."""

from collections.abc import Sequence

from torch.autograd.graph import Node

Recorded = Node | None
"""The autograd node that computed a value; None if autograd recorded none."""


def ancestors(layers: Sequence[Recorded], outputs: Sequence[Recorded]) -> list[frozenset[int]]:
    """Find the layers that each layer, and then all outputs, were computed from.

    Args:
        layers: node that computed the output of each layer, in the order of execution.
        outputs: nodes that computed the outputs of the network.

    Returns:
        One set of layer indices per layer, which includes the layer itself. The last set holds the
        layers that any output of the network was computed from.
    """
    own: dict[Node, int] = {}
    for place, node in enumerate(layers):
        if node is not None:
            own[node] = own.get(node, 0) | 1 << place
    masks: dict[Node, int] = {}
    for root in (*layers, *outputs):
        if root is not None:
            _fill(root, own, masks)
    reached = 0
    for node in outputs:
        reached |= masks[node] if node is not None else 0
    found = [masks[node] if node is not None else 1 << place for place, node in enumerate(layers)]
    return [_places(mask) for mask in (*found, reached)]


# Prefixes of autograd's names for operators that treat all features alike, and for projections.
_MOVES = ("View", "Unsafe", "Reshape", "Permute", "Transpose", "TBackward", "Clone", "Alias")
_CUTS = ("Slice", "Cat", "Mean", "Squeeze", "Unsqueeze", "Expand", "Roll", "AsStrided")
_PROJECTIONS = ("Addmm", "Mm", "Bmm", "Baddbmm", "Convolution", "Linear")


def are_only_projected(layers: Sequence[Recorded], outputs: Sequence[Recorded]) -> list[bool]:
    """Whether only projections read the output of each layer, possibly after moves.

    Args:
        layers: node that computed the output of each layer.
        outputs: nodes that computed the outputs of the network.
    """
    readers: dict[Node, list[Node]] = {}
    waiting = [node for node in outputs if node is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        for source, _ in node.next_functions:
            if source is not None:
                readers.setdefault(source, []).append(node)
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)
    ends = set(outputs)
    return [node is not None and _ends_in_projections(node, readers, ends) for node in layers]


def _ends_in_projections(node: Node, readers: dict[Node, list[Node]], ends: set[Recorded]) -> bool:
    waiting, seen = [node], {node}
    while waiting:
        found = waiting.pop()
        if found in ends or not readers.get(found):
            return False
        for reader in readers[found]:
            if reader.name().startswith(_PROJECTIONS) or reader in seen:
                continue
            if not reader.name().startswith((*_MOVES, *_CUTS)):
                return False
            seen.add(reader)
            waiting.append(reader)
    return True


def _fill(root: Node, own: dict[Node, int], masks: dict[Node, int]) -> None:
    """Compute the bit mask of a node and its sources: one bit per layer that it depends on."""
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
