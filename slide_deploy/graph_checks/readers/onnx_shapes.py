"""Shapes of an ONNX file, inferred by the onnx library instead of taken from the file.

A file may declare any shape for an intermediate, but runtimes use the shapes that the operators
compute. So declared shapes are dropped and inferred again. This happens on a copy without weights:
``infer_shapes`` serialises its argument, and no shape depends on the numbers of large tensors. If
a shape cannot be inferred, the declared one is used.
"""

import math
from collections.abc import Mapping
from typing import Any

from slide_deploy.graph_checks.graph import Constant
from slide_deploy.graph_checks.readers.limits import MAX_RANK

# Prefix of the onnx library's names for sizes that it cannot express through the others.
UNEXPRESSED = "unk__"
# Elements. Constants with shapes, axes and permutations are smaller than this.
_SMALL = 1024
# Integers that the onnx library may compute to infer shapes. Networks list some thousand.
_MOST_LISTED = 10**6


def inferred_values(model: Any, constants: Mapping[str, Constant]) -> dict[str, Any]:
    """Infer the ``TypeProto`` of every intermediate and output, by name, where onnx can.

    Args:
        model: the ``ModelProto``, which is not changed.
        constants: its initialisers, wherever their bytes are.
    """
    import onnx
    from onnx.shape_inference import InferenceError, infer_shapes

    try:
        weightless = _without_weights(onnx, model, constants)
        inferred = infer_shapes(weightless)
        if _listed(inferred.graph, {}) <= _MOST_LISTED:
            inferred = infer_shapes(weightless, data_prop=True)
    except (InferenceError, RuntimeError, TypeError, ValueError):  # an impossible graph
        return {}
    return {
        value.name: value.type
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if value.type.WhichOneof("value") is not None
    }


def _listed(graph: Any, outer: Mapping[str, int]) -> int:
    """Return an upper limit of the numbers that onnx computes with ``data_prop``.

    It follows lists through operators, and a few operators can make lists longer than memory holds.
    A value of one axis is taken for a list. One whose size is unknown has at most as many numbers
    as the longest input, or as all inputs of a ``Concat`` together.

    Args:
        graph: a ``GraphProto`` with inferred shapes.
        outer: limits of the values around it, by name.
    """
    shapes = {
        value.name: value.type.tensor_type.shape.dim
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    limits = {**outer, **{each.name: math.prod(each.dims) for each in graph.initializer}}
    count = 0
    for node in graph.node:
        # Inputs of the graph are unknown; the list of their sizes is as long as their rank.
        lengths = [limits.get(name, MAX_RANK) for name in node.input]
        most = sum(lengths) if node.op_type == "Concat" else max(lengths, default=MAX_RANK)
        for name in node.output:
            sizes = shapes.get(name)
            if sizes is None or (len(sizes) == 1 and not sizes[0].HasField("dim_value")):
                limits[name] = most
            else:  # a list, a single number, or what is no list
                limits[name] = sizes[0].dim_value if len(sizes) == 1 else int(not sizes)
            count += limits[name]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                count += _listed(attribute.g, limits)
    return count


def _without_weights(onnx: Any, model: Any, constants: Mapping[str, Constant]) -> Any:
    graph = onnx.GraphProto(name="weightless")
    graph.input.extend(model.graph.input)
    for value in model.graph.output:
        graph.output.add(name=value.name)
    for node in model.graph.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        del copy.metadata_props[:]
        copy.ClearField("doc_string")
    declared = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        constant = constants[tensor.name]
        if constant.size <= _SMALL and constant.dtype != "string":
            graph.initializer.add(
                name=tensor.name,
                dims=tensor.dims,
                data_type=tensor.data_type,
                raw_data=constant.load().tobytes(),
            )
        elif tensor.name not in declared:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    weightless = onnx.ModelProto(ir_version=model.ir_version, graph=graph)
    weightless.opset_import.extend(model.opset_import)
    return weightless
