"""Sizes that an ONNX file leaves open.

A negative size of an input, an output or an inner value is open: PaddlePaddle and others write -1,
and ONNX Runtime clears every size below 0 as it loads a file. A size of 0 is one to it. So is it
here. The onnx library's inference would compute with the -1, which is why it goes first.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from slide_deploy.graph_checks.graph import Shape


def clear_negative_sizes(graph: Any, nested: int) -> None:
    """Make every negative size of a ``GraphProto`` one that the file does not know.

    Args:
        graph: changed in place, the bodies of its control flow too.
        nested: how many levels of bodies are looked at.
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
    """Give the inputs of a ``GraphProto`` sizes, so that inference knows those of inner values.

    A size that has a name is the same wherever inputs and outputs have it.

    Args:
        graph: changed in place.
        shapes: by the name of the input, of its rank; what is no number stays as it is.
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
