"""A layer as a traced program, of which any part can be evaluated from any other.

The program is that of ``torch.export``. It is evaluated with the weights of the layer, or with
random ones: what depends on what must not be hidden by a weight that happens to be zero.
"""

import operator
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from slide_deploy.foreign.calls import AttentionCall, Size
from slide_deploy.foreign.proof import in_float64

Values = dict[Node, Any]
aten = torch.ops.aten


class _OnMaps(nn.Module):
    """A layer called with (1, C, H, W) and answering the same."""

    def __init__(self, layer: nn.Module, call: AttentionCall) -> None:
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, maps: Tensor) -> Tensor:
        return self.call.answer(self.layer, maps)


class AttentionProgram:
    """A traced layer.

    Attributes:
        shape: (1, C, H, W), of the map that it takes and of the one that it answers.
        graph: the operators, in order.
        x: the map that it takes.
        y: the map that it answers.
        varying: everything that depends on ``x``.
        weights: values of the constants, as the layer holds them.
        random: values of the constants, drawn; all of them positive.

    Args:
        layer: in evaluation mode and float64, on the CPU.
        call: how it is called.
        channels: C.
        size: height and width of the map that it is traced with.

    Raises:
        Exception: of any kind, if it cannot be traced.
    """

    def __init__(self, layer: nn.Module, call: AttentionCall, channels: int, size: Size) -> None:
        self.shape = (1, channels, *size)
        example = torch.zeros(self.shape, dtype=torch.float64)
        with in_float64(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch has to say of itself
            exported = torch.export.export(_OnMaps(layer, call).eval(), (example,))
            written_out = {aten.scaled_dot_product_attention.default: _attention}
            module = exported.run_decompositions(written_out).module()
        assert isinstance(module, torch.fx.GraphModule)
        self.graph = module.graph
        (self.x,) = self.graph.find_nodes(op="placeholder")
        (answers,) = self.graph.output_node().args
        (answer,) = answers if isinstance(answers, tuple | list) else (answers,)
        assert isinstance(answer, Node)
        self.y = answer
        self.varying = self.after(self.x)
        self.weights: Values = {}
        self.random: Values = {}
        generator = torch.Generator().manual_seed(0)
        for node in self.graph.find_nodes(op="get_attr"):
            value = operator.attrgetter(str(node.target))(module)
            self.weights[node] = self.random[node] = value
            if isinstance(value, Tensor):
                self.weights[node] = value.detach()
                if value.is_floating_point():
                    drawn = torch.rand(value.shape, generator=generator, dtype=torch.float64)
                    self.random[node] = drawn + 0.5

    def after(self, source: Node, given: Collection[Node] = ()) -> set[Node]:
        """What depends on a node, itself included, where the values of others are given."""
        found = {source}
        for node in self.graph.nodes:
            if node not in given and not found.isdisjoint(node.all_input_nodes):
                found.add(node)
        return found

    def before(self, target: Node, given: Collection[Node] = ()) -> set[Node]:
        """What a node depends on, itself included, where the values of others are given."""
        found: set[Node] = set()
        pending = [target]
        while pending:
            node = pending.pop()
            if node not in found and node not in given:
                found.add(node)
                pending += node.all_input_nodes
        return found

    def between(self, source: Node, target: Node, given: Collection[Node] = ()) -> list[Node]:
        """Every node on a path from one to another, in order, both included."""
        inside = self.after(source, given) & self.before(target, given)
        return [node for node in self.graph.nodes if node in inside]

    def gates(self, source: Node, target: Node, given: Collection[Node] = ()) -> list[Node]:
        """What every path from one node to another passes, in order, both included."""
        passed: dict[Node, set[Node]] = {}
        for node in self.between(source, target, given):
            ways = [passed[each] for each in node.all_input_nodes if each in passed]
            passed[node] = {node}.union(set.intersection(*ways) if ways else ())
        return [node for node in passed if node in passed.get(target, ())]

    def evaluate(
        self, targets: Iterable[Node], given: Mapping[Node, Tensor], weights: Values
    ) -> list[Tensor]:
        """Values of nodes, where the values of others are given."""
        targets = list(targets)
        needed = set(given)
        for target in targets:
            needed |= self.before(target, given)
        values: Values = dict(given)
        for node in self.graph.nodes:
            if node not in needed or node in given:
                continue
            if node.op == "placeholder":
                raise ValueError("its map goes past what was read")
            if node.op == "get_attr":
                values[node] = weights[node]
            else:
                args, named = map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **named)
        return [values[node] for node in targets]

    def separate(self, source: Node, users: Collection[Node]) -> Node:
        """Put one node between a node and some users, so that these can be given another value."""
        first = next(node for node in self.graph.nodes if node in users)
        with self.graph.inserting_before(first):
            apart = self.graph.call_function(aten.alias.default, (source,))
        apart.meta.update(source.meta)
        for user in users:
            user.replace_input_with(source, apart)
        self.varying = self.after(self.x)
        return apart


def is_one_of(node: Node, operators: Collection[Any]) -> bool:
    """Whether a node is one of these operators, in any overload."""
    return getattr(node.target, "overloadpacket", None) in operators


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``scaled_dot_product_attention`` with its products and its softmax written out."""
    if is_causal or enable_gqa or dropout_p:
        raise NotImplementedError("a causal or grouped attention is no slide attention")
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    logits = torch.matmul(query, key.transpose(-2, -1)) * factor
    if attn_mask is not None:
        logits = logits + attn_mask
    return torch.matmul(logits.softmax(-1), value)
