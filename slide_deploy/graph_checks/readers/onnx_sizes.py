"""Open sizes of an ONNX file.

A negative size of an input, output or intermediate is open: PaddlePaddle and others write -1, and
ONNX Runtime clears every negative size when it loads a file. It keeps a size of 0 as a fixed size.
This module does the same. It runs before the onnx library's shape inference, which would compute
with the -1.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from slide_deploy.graph_checks.graph import Shape


def clear_negative_sizes(graph: Any, nested: int) -> None:
    """Make every negative size of a ``GraphProto`` an open size.

    Args:
        graph: changed in place, including the bodies of its control flow.
        nested: how many levels of bodies are changed.
    """
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in _sizes(value):
            if size.WhichOneof("value") == "dim_value" and size.dim_value < 0:
                size.ClearField("dim_value")
    if not nested:
        return
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                clear_negative_sizes(body, nested - 1)


def fix_input_sizes(graph: Any, shapes: Mapping[str, Shape]) -> None:
    """Set sizes of a ``GraphProto``'s inputs, so that inference finds those of intermediates.

    A named size gets the same number everywhere among the inputs and outputs.

    Args:
        graph: changed in place.
        shapes: a shape of the input's rank by its name; entries that are not numbers change
            nothing.
    """
    named: dict[str, int] = {}
    for value in graph.input:
        for dim, size in zip(_sizes(value), shapes.get(value.name, ()), strict=False):
            if isinstance(size, int):
                if dim.dim_param:
                    named[dim.dim_param] = size
                dim.dim_value = size
    for value in (*graph.input, *graph.output):
        for dim in _sizes(value):
            if dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]


def _sizes(value: Any) -> Iterator[Any]:
    if value.type.WhichOneof("value") == "tensor_type":
        yield from value.type.tensor_type.shape.dim
