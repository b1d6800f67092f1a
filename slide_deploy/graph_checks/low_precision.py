"""Low-precision numbers in a graph: integers and small floats instead of floats of 16 or 32 bits.

Quantisers leave one of three traces, in every format:

    operators   that quantise and dequantise, or compute with small integers
    weights     that are stored as integers and dequantised by casts and scales
    types       of floats below 16 bits, anywhere

Indices, sizes and axes are no trace, because they are never cast to floats.
"""

import re
from collections import Counter
from collections.abc import Iterator

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import Constant, Graph, Node, kind_of
from slide_deploy.graph_checks.graph_walks import LONGEST_WALK, ancestors
from slide_deploy.graph_checks.in_floats import rounding

_ANY_INTEGER = re.compile(r"u?int(\d+)$")
_SMALL_FLOAT = re.compile(r"n?float[1-9](e|$)")
_SMALL_INTEGER = re.compile(r"u?int[1-8]$")
_INTEGER = re.compile(r"u?int([1-8]|16)$")
_FLOAT = re.compile(r"b?float(16|32|64)$")
_WEIGHTED = (Kind.CONVOLUTION, Kind.MATMUL, Kind.LINEAR)
# Kinds between a stored weight and its use: those that keep the numbers, and those that scale or
# shift them.
_PASSING = (Kind.CAST, Kind.RESHAPE, Kind.TRANSPOSE)
_SCALING = (Kind.ADD, Kind.MULTIPLY, Kind.BROADCAST)


def quantising_operators(graph: Graph) -> Counter[str]:
    """The count of each operator for low-precision numbers, by name."""
    pattern = graph.dialect.quantising
    if pattern is None:
        return Counter()
    return Counter(node.operator for node in graph.nodes if pattern.search(node.operator))


def value_widths(graph: Graph) -> Counter[int]:
    """The number of operators that round activations, by the width in bits to which they round.

    Operators that compute with integers count as 8 bits.
    """
    widths: Counter[int] = Counter()
    for node in rounding(graph):
        if node.operator in graph.dialect.ranges:
            levels = (node.integers("levels") or (256,))[0]
            widths[max((levels - 1).bit_length(), 1)] += 1
        else:
            kinds = (_dtype(graph, name) for name in (*node.inputs[:1], *node.outputs[:1]))
            bits = [int(found[1]) for kind in kinds if (found := _ANY_INTEGER.match(kind))]
            widths[bits[0] if bits else 8] += 1
    others = quantising_operators(graph)
    passed = (*graph.dialect.rounding, *graph.dialect.expand)
    computing = sum(count for name, count in others.items() if name not in passed)
    return widths + Counter({8: computing} if computing else {})


def small_floats(graph: Graph) -> Counter[str]:
    """The count of constants and values of each float type below 16 bits."""
    types = {name: value.dtype for name, value in graph.values.items()}
    types |= {name: constant.dtype for name, constant in graph.constants.items()}
    return Counter(dtype for dtype in types.values() if _SMALL_FLOAT.match(dtype))


def integer_weights(graph: Graph) -> tuple[Constant, ...]:
    """The constants of small integers that are cast to floats, each once."""
    cast = [_cast_origin(graph, node) for node in graph.nodes]
    found = [graph.constants[name] for name in cast if name in graph.constants]
    found.extend(_integers_of_weights(graph))
    return tuple({constant.name: constant for constant in found}.values())


def rounded_values(graph: Graph) -> tuple[Node, ...]:
    """The casts to float of values that another cast rounded to small integers.

    Values cast from an integer input of the graph do not count: images have eight bits.
    """
    return tuple(node for node in graph.nodes if _is_rounded(graph, _cast_origin(graph, node)))


def _is_rounded(graph: Graph, name: str) -> bool:
    """Whether a cast from float computes a value."""
    origin = graph.producers.get(name)
    if origin is None or kind_of(graph, origin) is not Kind.CAST or not origin.inputs:
        return False
    return bool(_FLOAT.match(_dtype(graph, origin.inputs[0])))


def _cast_origin(graph: Graph, node: Node) -> str:
    """The origin of the small integers that a node casts to floats; empty if it casts none."""
    if kind_of(graph, node) is not Kind.CAST or not node.inputs or not node.outputs:
        return ""
    name = node.inputs[0]
    if not _SMALL_INTEGER.match(_dtype(graph, name)):
        return ""
    if _SMALL_INTEGER.match(_dtype(graph, node.outputs[0])):
        return ""
    for origin in ancestors(graph, name):
        if kind_of(graph, origin) not in _PASSING or not origin.inputs:
            break
        if not _SMALL_INTEGER.match(_dtype(graph, origin.inputs[0])):
            break
        name = origin.inputs[0]
    return name if _FLOAT.match(_dtype(graph, node.outputs[0])) else ""


def _integers_of_weights(graph: Graph) -> Iterator[Constant]:
    """Yield integers, including 16 bits, from which weights of convolutions or matmuls come."""
    for node in graph.nodes:
        if kind_of(graph, node) not in _WEIGHTED or len(node.inputs) < 2:
            continue
        waiting, seen = [node.inputs[1]], set[str]()
        while waiting and len(seen) < LONGEST_WALK:
            name = waiting.pop()
            seen.add(name)
            if name in graph.constants:
                if _INTEGER.match(graph.constants[name].dtype):
                    yield graph.constants[name]
                continue
            origin = graph.producers.get(name)
            kind = None if origin is None else kind_of(graph, origin)
            if origin is not None and kind in (*_PASSING, *_SCALING):
                read = origin.inputs[:1] if kind in _PASSING else origin.inputs
                waiting.extend(source for source in read if source and source not in seen)


def _dtype(graph: Graph, name: str) -> str:
    if name in graph.constants:
        return graph.constants[name].dtype
    return graph.values[name].dtype if name in graph.values else "undefined"
