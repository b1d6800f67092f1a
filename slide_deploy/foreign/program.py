"""A layer as a ``torch.export`` program, any part of which can be evaluated from any other part.

The program is evaluated with the weights of the layer, or with random positive weights to find
dependencies, because a weight that happens to be zero would hide one.
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


class _Nchw(nn.Module):
    """A layer whose input and output are (1, C, H, W)."""

    def __init__(self, layer: nn.Module, call: AttentionCall) -> None:
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, nchw: Tensor) -> Tensor:
        return self.call.run(self.layer, nchw)


class AttentionProgram:
    """A traced layer.

    Attributes:
        shape: shape of the input and of the output, (1, C, H, W).
        graph: the operators, in order.
        x: the input node.
        y: the output node.
        varying: all nodes that depend on ``x``.
        weights: values of the constants, as the layer holds them.
        random: values of the constants with every floating-point tensor replaced by random
            positive numbers.

    Args:
        layer: layer in evaluation mode and float64, on the CPU.
        call: how the layer is called.
        channels: number of channels, C.
        size: height and width of the input that the layer is traced with.

    Raises:
        Exception: any exception of ``torch.export`` or the layer, if it cannot be traced.
    """

    def __init__(self, layer: nn.Module, call: AttentionCall, channels: int, size: Size) -> None:
        self.shape = (1, channels, *size)
        example = torch.zeros(self.shape, dtype=torch.float64)
        with in_float64(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own internals
            exported = torch.export.export(_Nchw(layer, call).eval(), (example,))
            written_out = {aten.scaled_dot_product_attention.default: _attention}
            module = exported.run_decompositions(written_out).module()
        assert isinstance(module, torch.fx.GraphModule)
        self.graph = module.graph
        (self.x,) = self.graph.find_nodes(op="placeholder")
        (outputs,) = self.graph.output_node().args
        (y,) = outputs if isinstance(outputs, tuple | list) else (outputs,)
        assert isinstance(y, Node)
        self.y = y
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
        """Return a node and all that depend on it, not through nodes in ``given``."""
        found = {source}
        for node in self.graph.nodes:
            if node not in given and not found.isdisjoint(node.all_input_nodes):
                found.add(node)
        return found

    def before(self, target: Node, given: Collection[Node] = ()) -> set[Node]:
        """Return a node and all that it depends on, not through nodes in ``given``."""
        found: set[Node] = set()
        pending = [target]
        while pending:
            node = pending.pop()
            if node not in found and node not in given:
                found.add(node)
                pending += node.all_input_nodes
        return found

    def between(self, source: Node, target: Node, given: Collection[Node] = ()) -> list[Node]:
        """Return every node on a path from source to target, in order, both included."""
        inside = self.after(source, given) & self.before(target, given)
        return [node for node in self.graph.nodes if node in inside]

    def gates(self, source: Node, target: Node, given: Collection[Node] = ()) -> list[Node]:
        """Return the nodes on all paths from source to target, in order, both included."""
        passed: dict[Node, set[Node]] = {}
        for node in self.between(source, target, given):
            paths = [passed[each] for each in node.all_input_nodes if each in passed]
            passed[node] = {node}.union(set.intersection(*paths) if paths else ())
        return [node for node in passed if node in passed.get(target, ())]

    def evaluate(
        self, targets: Iterable[Node], given: Mapping[Node, Tensor], weights: Values
    ) -> list[Tensor]:
        """Compute the values of nodes from given values of others.

        Args:
            targets: nodes to evaluate.
            given: values of other nodes.
            weights: values of the constants.

        Raises:
            ValueError: if a target depends on the input and the input is not given.
        """
        targets = list(targets)
        needed = set(given)
        for target in targets:
            needed |= self.before(target, given)
        values: Values = dict(given)
        for node in self.graph.nodes:
            if node not in needed or node in given:
                continue
            if node.op == "placeholder":
                raise ValueError("its input reaches its output around the queries, keys and values")
            if node.op == "get_attr":
                values[node] = weights[node]
            else:
                args, named = map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = node.target(*args, **named)
        return [values[node] for node in targets]

    def separate(self, source: Node, users: Collection[Node]) -> Node:
        """Insert an alias before some users of a node, so that they can be given another value."""
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
    """Compute ``scaled_dot_product_attention`` by matmuls and a softmax."""
    if is_causal or enable_gqa or dropout_p:
        raise NotImplementedError(
            "an attention with a causal mask, groups or dropout is no slide attention"
        )
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    logits = torch.matmul(query, key.transpose(-2, -1)) * factor
    if attn_mask is not None:
        logits = logits + attn_mask
    return torch.matmul(logits.softmax(-1), value)
