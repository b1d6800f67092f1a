"""Read linear layers and convolutions, and find those that read a value."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, ops
from torch.fx import Node

from slide_deploy.program.arrangement import Arrangement, Pieces
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import is_reshape, is_same, permutation
from slide_deploy.program.traced import Call, call, layer_of, same_size, shape

aten = ops.aten
_CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
# Operators that leave the other axes alone; the argument that names the axis they act on.
_AXIS_ARGUMENTS = {
    **dict.fromkeys(("select", "slice", "index_select", "narrow", "split", "chunk"), "dim"),
    **dict.fromkeys(("split_with_sizes", "unbind", "tensor_split"), "dim"),
    **dict.fromkeys(("flip", "roll"), "dims"),
    "mean": "dim",
}
_AXIS_REMOVING = {"select", "unbind"}


@dataclass(frozen=True)
class Projection:
    """A linear layer or a convolution with constant weights.

    Attributes:
        node: the operator.
        weight: (outputs, inputs) or (outputs, inputs / groups, ...).
        bias: (outputs), or None.
        groups: groups of the convolution; 1 for a linear layer.
        is_linear: whether it is a linear layer.
    """

    node: Node
    weight: Tensor
    bias: Tensor | None
    groups: int
    is_linear: bool

    def per_input(self, numbers: Tensor) -> Tensor:
        """Expand one number per input to the weight's shape (outputs, inputs / groups, ...)."""
        inputs = self.weight.shape[1]
        rows = numbers.reshape(self.groups, 1, inputs)
        rows = rows.expand(self.groups, self.weight.shape[0] // self.groups, inputs)
        return rows.reshape(-1, inputs, *[1] * (self.weight.ndim - 2))

    def rewritten(self, editor: Editor, weight: Tensor, bias: Tensor | None) -> Node:
        """Replace the layer by one with other weights, rounded to the type of the old ones.

        Args:
            editor: editor of the program.
            weight: the new weight, in the shape of the old one.
            bias: (outputs), or None.
        """
        dtype = self.weight.dtype
        args = list(self.node.args)
        args[1] = editor.constant(weight.to(dtype), "weight")
        kwargs = {name: held for name, held in self.node.kwargs.items() if name != "bias"}
        held = None if bias is None else editor.constant(bias.to(dtype), "bias")
        args[2:3] = [held]
        new = editor.insert(self.node, self.node.target, *args, **kwargs)
        editor.replace(self.node, new)
        editor.drop(self.node)
        return new


def projection(editor: Editor, node: Node) -> Projection | None:
    """Read a node as a projection with constant weights; None if it is not."""
    found = call(node)
    if found is None or (found.name != "linear" and found.name not in _CONVOLUTIONS):
        return None
    weight, bias = editor.weight(node.args[1]), editor.weight(found.arguments["bias"])
    if weight is None or (found.arguments["bias"] is not None and bias is None):
        return None
    if not weight.is_floating_point() or "weight" in node.kwargs:
        return None
    if found.name == "linear":
        return Projection(node, weight, bias, 1, True) if weight.ndim == 2 else None
    return Projection(node, weight, bias, found.arguments["groups"], False)


def is_padded(node: Node) -> bool:
    """Whether a convolution pads its input with zeros."""
    found = call(node)
    padding: Any = None if found is None else found.arguments.get("padding", 0)
    if isinstance(padding, str):
        return padding != "valid"
    return any(padding) if isinstance(padding, (list, tuple)) else bool(padding)


def is_read_by(weight: object, nodes: set[Node]) -> bool:
    """Whether no other nodes than these read a weight."""
    return isinstance(weight, Node) and nodes.issuperset(weight.users)


@dataclass(frozen=True)
class ProjectionPlace:
    """The position of features within a value: inside an axis of (outer, features, inner).

    Attributes:
        axis: axis of the value.
        outer: size of what precedes the features in that axis.
        inner: size of what follows them.
    """

    axis: int
    outer: Any = 1
    inner: Any = 1

    @property
    def is_whole(self) -> bool:
        """Whether the axis contains only the features."""
        return same_size(self.outer, 1) and same_size(self.inner, 1)


class UnreadableProjection(Exception):
    """An operator other than a projection reads the features; the text names it."""


def projections_behind(
    editor: Editor, source: Node, axis: int, through: frozenset[str] = frozenset()
) -> list[Node]:
    """Find the linear layers and convolutions that read the features of a value.

    In between may be operators that move elements, or that select, join or average over other
    axes: scaling the features before such an operator equals scaling them after it.

    Args:
        editor: editor of the program.
        source: the value.
        axis: axis of the features.
        through: names of operators on the last axis that may be in between if they keep it.

    Returns:
        The operators in program order, including those that ``through`` names.

    Raises:
        UnreadableProjection: if an output of the network, or another operator, reads the features.
    """
    features = shape(source)[axis]
    places: dict[Node, ProjectionPlace] = {source: ProjectionPlace(axis % len(shape(source)))}
    found: list[Node] = []
    if editor.is_output(source):
        raise UnreadableProjection("it is an output of the network")
    is_behind = False
    for node in editor.program.graph.nodes:
        if node is source:
            is_behind = True
        elif is_behind and any(each in places for each in node.all_input_nodes):
            place = _place_behind(node, places, features)
            if place is None and _reads_whole(node, places):
                found.append(node)
                continue
            known = call(node)
            if place is None and known is not None and known.name in through:
                before = places.get(node.args[0])
                if before is not None and before.is_whole and before.axis == len(shape(node)) - 1:
                    found.append(node)
                    place = before
            if place is None:
                raise UnreadableProjection(f"{layer_of(node)} also reads it, by {_name(node)}")
            if editor.is_output(node):
                raise UnreadableProjection("it is an output of the network")
            places[node] = place
    return found


def _name(node: Node) -> str:
    found = call(node)
    return found.name if found is not None else str(node.target)


def _reads_whole(node: Node, places: Mapping[Node, ProjectionPlace]) -> bool:
    """Whether a node is a projection of all the features and of nothing else."""
    found = call(node)
    if found is None or [each in places for each in node.all_input_nodes].count(True) != 1:
        return False
    place = places.get(node.all_input_nodes[0])
    if place is None or not place.is_whole:
        return False
    if found.name == "linear":
        return place.axis == len(shape(node.args[0])) - 1
    return (
        found.name in _CONVOLUTIONS
        and place.axis == len(shape(node.args[0])) - 1 - _CONVOLUTIONS[found.name]
    )


def _place_behind(
    node: Node, places: Mapping[Node, ProjectionPlace], features: Any
) -> ProjectionPlace | None:
    """The position of the features after an operator; None if it changes them."""
    if node.target is operator.getitem:
        return places[node.all_input_nodes[0]]
    found = call(node)
    if found is None:
        return None
    if found.name in ("cat", "concat"):
        parts = [places.get(part) for part in found.arguments["tensors"]]
        axis = found.arguments["dim"] % len(shape(node))
        first = parts[0]
        return first if first and set(parts) == {first} and axis != first.axis else None
    source = node.args[0] if node.args else None
    place = places.get(source) if isinstance(source, Node) else None
    if place is None or sum(each in places for each in node.all_input_nodes) != 1:
        return None
    if is_same(found):
        return place
    order = permutation(found)
    if order is not None:
        return ProjectionPlace(order.index(place.axis), place.outer, place.inner)
    if is_reshape(found):
        return _reshaped(place, features, shape(node.args[0]), shape(node))
    return _other_axes(found, place) if found.name in _AXIS_ARGUMENTS else None


def _other_axes(found: Call, place: ProjectionPlace) -> ProjectionPlace | None:
    """The position after an operator on other axes; None if it acts on that of the features."""
    rank = len(shape(found.node.args[0]))
    given = found.arguments.get(_AXIS_ARGUMENTS[found.name])
    axes = [given] if isinstance(given, int) else given
    if axes is None or not len(axes) or any(axis % rank == place.axis for axis in axes):
        return None
    if found.arguments.get("dtype") is not None:
        return None
    is_gone = found.name in _AXIS_REMOVING or (
        found.name == "mean" and not found.arguments.get("keepdim")
    )
    lost = sum(axis % rank < place.axis for axis in axes) if is_gone else 0
    return ProjectionPlace(place.axis - lost, place.outer, place.inner)


def _reshaped(
    place: ProjectionPlace, features: Any, before: Any, after: Any
) -> ProjectionPlace | None:
    """The position after a reshape; None if it splits the features."""
    cut = (*before[: place.axis], place.outer, features, place.inner, *before[place.axis + 1 :])
    piece = place.axis + 1
    held = Arrangement.of(cut).reshaped(after)
    if held is None or piece not in held.order:
        return None
    axis = next(index for index, pieces in enumerate(held.axes) if piece in pieces)
    pieces: Pieces = held.axes[axis]
    at = pieces.index(piece)
    return ProjectionPlace(axis, held.size(pieces[:at]), held.size(pieces[at + 1 :]))
