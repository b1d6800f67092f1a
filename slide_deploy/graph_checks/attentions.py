"""Attention over tokens as runtimes recognise it: softmax(q k^T) v, in one operator or in three.

Queries and values have the features last, (..., tokens, d). Runtimes do not recognise an attention
whose matmuls read them transposed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Graph, Node, kind_of
from slide_deploy.graph_checks.graph_walks import LONGEST_WALK, through_scaling
from slide_deploy.graph_checks.matmuls import stored_transposed

_BEFORE_SOFTMAX = (Kind.ADD, Kind.MULTIPLY, Kind.CAST)


@dataclass(frozen=True)
class Attention:
    """One attention.

    Attributes:
        node: its softmax, or the single attention operator.
        query: name of the queries q, before scaling.
        values: name of the values v.
        result: name of its output.
    """

    node: Node
    query: str
    values: str
    result: str


def attentions(graph: Graph) -> Iterator[Attention]:
    """Yield every attention of a graph."""
    for node in graph.nodes:
        kind = kind_of(graph, node)
        if kind is Kind.ATTENTION and len(node.inputs) > 2 and node.outputs:
            query = through_scaling(graph, node.inputs[0])
            yield Attention(node, query, node.inputs[2], node.outputs[0])
        elif kind is Kind.SOFTMAX and node.inputs and node.outputs:
            logits = _logits(graph, node)
            weighted = _weighted(graph, node)
            if logits is not None and weighted is not None:
                query = through_scaling(graph, logits.inputs[0])
                yield Attention(node, query, weighted.inputs[1], weighted.outputs[0])


def _logits(graph: Graph, softmax: Node) -> Node | None:
    """The matmul of queries and keys before a softmax, past scale, bias and mask."""
    name = softmax.inputs[0]
    for _ in range(LONGEST_WALK):
        node = graph.producers.get(name)
        if node is None:
            return None
        kind = kind_of(graph, node)
        if kind is Kind.MATMUL and len(node.inputs) == 2:
            return None if stored_transposed(graph, node)[0] else node
        if kind not in _BEFORE_SOFTMAX:
            return None
        computed = [source for source in node.inputs if source in graph.producers]
        if not computed:
            return None
        name = computed[0]
    return None


def _weighted(graph: Graph, softmax: Node) -> Node | None:
    """The matmul of the softmax and the values."""
    name = softmax.outputs[0]
    for reader in graph.consumers.get(name, ()):
        is_matmul = kind_of(graph, reader) is Kind.MATMUL and len(reader.inputs) == 2
        if is_matmul and reader.inputs[0] == name and reader.outputs:
            return None if stored_transposed(graph, reader)[1] else reader
    return None
