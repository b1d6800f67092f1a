"""Rewrite operators on (batch, H, W, C) and tokens for NCHW feature maps (batch, C, H, W)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.layouts.normalisation import Normaliser, centred
from slide_deploy.layouts.roles import TO_MAP, TO_ROWS, Role, Size, Weights
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import is_same
from slide_deploy.program.traced import Call, call, shape

aten = torch.ops.aten

# The axis of an NCHW feature map for each axis of (batch, H, W, C).
_NCHW_AXES = {1: 2, 2: 3, 3: 1}


class NchwWriter:
    """Rewrites operators for NCHW feature maps, in the order of the program.

    Args:
        editor: editor of the program.
        roles: roles of the operators on feature maps.
        sizes: height and width of the feature maps.
        first: the operators to rewrite.
        weights: tensors of the nodes that are weights.
    """

    def __init__(
        self,
        editor: Editor,
        roles: Mapping[Node, Role],
        sizes: Mapping[Node, Size],
        first: frozenset[Node],
        weights: Weights,
    ) -> None:
        self._editor = editor
        self._roles = roles
        self._sizes = sizes
        self._first = first
        self._weights = weights
        self._maps: dict[Node, Node] = {}
        # The readers of each node before anything changes.
        self._users = {node: tuple(node.users) for node in editor.program.graph.nodes}
        # If only a normalisation reads a layer, the layer's own weights can subtract the mean.
        norms = (node for node in first if roles[node].kind == "norm")
        self._centring = {norm: found for norm in norms if (found := self._producer(norm))}

    def write(self) -> None:
        """Rewrite the operators, and transpose where other operators read their results."""
        for node, role in self._roles.items():
            if role.kind == "leave":
                self._leave(node, role)
            elif node in self._first:
                self._maps[node] = self._written(node, role)
                self._hand_over(node, role)

    def _producer(self, norm: Node) -> Node | None:
        """The projection or convolution that only a normalisation reads; None if there is none."""
        node = norm
        while (role := self._roles.get(node)) is not None and role.kind in (
            "norm",
            "rows",
            "enter",
        ):
            if role.kind == "norm" and node is not norm:
                return None
            (source,) = node.all_input_nodes[:1]
            if len(self._users[source]) != 1 or (role.kind == "rows" and node not in self._first):
                return None
            node = source
            if role.kind == "enter" and node is not role.data[0]:  # flattened in between
                node = role.data[0]
                if len(self._users[node]) != 1:
                    return None
            if role.kind == "enter":
                break
        found = call(node)
        if found is None or found.name not in ("linear", "conv2d"):
            return None
        if found.arguments.get("groups", 1) != 1:  # its weights cannot average over all channels
            return None
        is_written = node in self._first if found.name == "linear" else node not in self._roles
        named = (found.arguments[name] for name in ("weight", "bias"))
        has_numbers = all(each is None or each in self._weights for each in named)
        return node if is_written and has_numbers else None

    def _leave(self, node: Node, role: Role) -> None:
        """Connect the readers of a transposed value to the feature map itself."""
        (rows,) = role.data
        if rows in self._first:
            for each in [node] if len(shape(node)) == 4 else self._users[node]:
                self._editor.replace(each, self._maps[rows])

    def _hand_over(self, node: Node, role: Role) -> None:
        """Transpose a rewritten value back for the readers that are not rewritten."""
        maps = self._maps[node]
        if role.kind == "mean":
            self._editor.replace(node, maps)
            return
        readers = [user for user in self._users[node] if not self._reads_maps(user, node)]
        if not readers:
            return
        rows = self._editor.insert(node, aten.permute.default, maps, list(TO_ROWS))
        if len(shape(node)) == 3:
            rows = self._editor.insert(node, aten.flatten.using_ints, rows, 1, 2)
        self._editor.replace(node, rows, readers)

    def _reads_maps(self, user: Node, node: Node) -> bool:
        role = self._roles.get(user)
        if role is None or node not in role.data:
            return False
        return role.kind == "leave" or (user in self._first and role.kind != "enter")

    def _written(self, node: Node, role: Role) -> Node:
        if role.kind == "enter":
            return self._entered(node, role)
        given = [self._nchw(each, node) for each in role.data]
        if role.kind == "rows" or is_same(role.call):
            return given[0]
        write = getattr(self, f"_{role.kind}")
        written: Node = write(node, role, *given)
        return written

    def _entered(self, node: Node, role: Role) -> Node:
        """The feature map that becomes (batch, H, W, C) or tokens; its weights may be centred."""
        (maps,) = node.all_input_nodes[:1]
        if len(shape(maps)) != 4:  # flattened in between
            (maps,) = maps.all_input_nodes[:1]
        found = call(maps)
        if maps not in self._centring.values() or found is None:
            return maps
        names = {"weight": self._weight_of(found, "weight"), "bias": self._weight_of(found, "bias")}
        constants = {
            name: None if held is None else self._editor.constant(centred(held, 0), name)
            for name, held in names.items()
        }
        arguments = {**found.arguments, **constants}
        return self._editor.insert(maps, maps.target, *arguments.values())

    def _nchw(self, value: Node, like: Node) -> Node:
        """The NCHW feature map of a value; it is transposed if it was not rewritten."""
        if value not in self._maps:
            rows = value
            if len(shape(value)) == 3:
                sizes = [-1, *self._sizes[value], shape(value)[2]]
                rows = self._editor.insert(like, aten.reshape.default, value, sizes)
            self._maps[value] = self._editor.insert(like, aten.permute.default, rows, list(TO_MAP))
        return self._maps[value]

    def _each(self, node: Node, role: Role, maps: Node) -> Node:
        return self._editor.insert(node, node.target, maps, *node.args[1:], **node.kwargs)

    def _mean(self, node: Node, role: Role, maps: Node) -> Node:
        return self._editor.insert(node, aten.mean.dim, maps, [2, 3])

    def _slice(self, node: Node, role: Role, maps: Node) -> Node:
        named = role.call.arguments
        bounds = [named[name] for name in ("start", "end", "step")]
        return self._editor.insert(
            node, node.target, maps, _NCHW_AXES[int(named["dim"]) % 4], *bounds
        )

    def _narrow(self, node: Node, role: Role, maps: Node) -> Node:
        named = role.call.arguments
        axis = _NCHW_AXES[int(named["dim"]) % 4]
        return self._editor.insert(node, node.target, maps, axis, named["start"], named["length"])

    def _cat(self, node: Node, role: Role, *maps: Node) -> Node:
        rank = len(shape(node))
        axis = int(role.call.arguments["dim"]) % rank
        return self._editor.insert(
            node, node.target, list(maps), 1 if axis == rank - 1 else _NCHW_AXES[axis]
        )

    def _pad(self, node: Node, role: Role, maps: Node) -> Node:
        named = role.call.arguments
        pad = [*named["pad"], *[0] * (6 - len(named["pad"]))]
        value = 0 if named["value"] is None else named["value"]
        pads = [*pad[2:], *pad[:2]]
        return self._editor.insert(node, aten.constant_pad_nd.default, maps, pads, value)

    def _pair(self, node: Node, role: Role, *maps: Node) -> Node:
        by_value = dict(zip(role.data, maps, strict=True))
        sides: list[Any] = [role.call.arguments[name] for name in ("self", "other")]
        for place, side in enumerate(sides):
            if isinstance(side, Node):
                sides[place] = by_value[side] if side in by_value else self._spread(side, node)
        return self._editor.insert(node, node.target, *sides, *node.args[2:], **node.kwargs)

    def _spread(self, side: Node, node: Node) -> Node:
        """A constant of (batch, H, W, C) or tokens, in the layout of NCHW feature maps."""
        numbers = self._weights[side]
        if numbers.numel() == 1:
            return self._editor.constant(numbers.reshape(()), "number")
        if all(size == 1 for size in numbers.shape[:-1]):
            numbers = numbers.reshape(-1, 1, 1)
        else:
            numbers = numbers.reshape(*self._sizes[node], -1).permute(2, 0, 1)
        return self._editor.constant(numbers, "constant")

    def _linear(self, node: Node, role: Role, maps: Node) -> Node:
        writer = Normaliser(self._editor, node)
        (source,) = role.data
        weight, bias = (self._weight_of(role.call, name) for name in ("weight", "bias"))
        assert weight is not None
        while (behind := self._roles.get(source)) is not None and behind.kind == "rows":
            (source,) = behind.data
        if behind is not None and _is_plain_norm(behind):
            # Centred weights cancel a rounding error that is equal in all channels.
            weight = centred(weight, 1)
        if node in self._centring.values():
            weight, bias = centred(weight, 0), None if bias is None else centred(bias, 0)
        return writer.convolve(maps, weight[:, :, None, None], bias)

    def _norm(self, node: Node, role: Role, maps: Node) -> Node:
        weight, bias = (self._weight_of(role.call, name) for name in ("weight", "bias"))
        return Normaliser(self._editor, node).normalise(
            maps, float(role.call.arguments["eps"]), weight, bias, node in self._centring
        )

    def _weight_of(self, found: Call, name: str) -> Tensor | None:
        held = found.arguments[name]
        return None if held is None else self._weights[held]


def _is_plain_norm(role: Role) -> bool:
    """Whether a role is a normalisation whose output sums to zero at every position."""
    arguments = role.call.arguments
    return role.kind == "norm" and arguments["weight"] is None and arguments["bias"] is None
