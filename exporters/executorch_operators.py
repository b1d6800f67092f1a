"""Rewrites operators that XNNPACK does not support as operators that it supports.

An unsupported operator runs on ExecuTorch's own kernels and splits the delegated part in two:
feature maps are converted from the delegate's layout and back. In a program of edge operators:

    expand to the same shape                removed
    view to the same shape                  removed
    split                                   slices
    softmax over another axis than the last transpose, softmax over the last axis, transpose
"""

from typing import Any

from executorch.exir.dialects._ops import ops
from executorch.exir.pass_base import ExportPass, PassResult
from torch.fx import GraphModule, Node

_EDGE = ops.edge.aten


class WrittenForXnnpack(ExportPass):
    """Rewrites a program before it is partitioned."""

    def call(self, graph_module: GraphModule) -> PassResult:
        """Rewrite the graph in place."""
        rewrites = {
            _EDGE.expand_copy.default: _remove_if_same_shape,
            _EDGE.view_copy.default: _remove_if_same_shape,
            _EDGE.split_with_sizes_copy.default: _as_slices,
            _EDGE._softmax.default: _over_the_last_axis,
        }
        for node in list(graph_module.graph.nodes):
            rewrite = rewrites.get(node.target)
            if rewrite is not None:
                rewrite(node)
        graph_module.graph.eliminate_dead_code()
        graph_module.graph.lint()
        graph_module.recompile()
        return PassResult(graph_module, True)


def _remove_if_same_shape(node: Node) -> None:
    source = node.args[0]
    assert isinstance(source, Node)
    if source.meta["val"].shape == node.meta["val"].shape:
        node.replace_all_uses_with(source)


def _as_slices(node: Node) -> None:
    source, sizes, axis = _split(*node.args)
    for part in list(node.users):
        place: Any = part.args[1]
        start = sum(sizes[:place])
        with node.graph.inserting_before(part):
            cut = _call(
                node, _EDGE.slice_copy.Tensor, (source, axis, start, start + sizes[place]), part
            )
        part.replace_all_uses_with(cut)


def _split(source: Any, sizes: Any, axis: Any = 0) -> tuple[Node, list[int], int]:
    return source, list(sizes), axis


def _over_the_last_axis(node: Node) -> None:
    source, axis = node.args[:2]
    assert isinstance(source, Node)
    assert isinstance(axis, int)
    value = node.meta["val"]
    last = value.dim() - 1
    if axis % value.dim() == last:
        return
    order = list(range(value.dim()))
    order[axis], order[last] = last, axis % value.dim()
    with node.graph.inserting_before(node):
        turned = _call(node, _EDGE.permute_copy.default, (source, order), node)
        turned.meta["val"] = value.permute(order).contiguous()
        weights = _call(node, _EDGE._softmax.default, (turned, last, False), turned)
        back = _call(node, _EDGE.permute_copy.default, (weights, order), node)
    node.replace_all_uses_with(back)


def _call(node: Node, target: Any, arguments: tuple[Any, ...], like: Node) -> Node:
    """Return a new operator in the layer of ``node``, with the shape and type of ``like``."""
    call = node.graph.call_function(target, arguments)
    call.meta = dict(node.meta) | {"val": like.meta["val"]}
    return call
