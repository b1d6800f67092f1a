"""Shapes of an ONNX file, inferred by the onnx library instead of taken from the file.

A file may declare any shape for an intermediate, but runtimes use the shapes that the operators
compute. So declared shapes are dropped and inferred again. This happens on a copy without weights:
``infer_shapes`` serialises its argument, and no shape depends on the numbers of large tensors. If
a shape cannot be inferred, the declared one is used.
"""

from collections.abc import Mapping
from typing import Any

from slide_deploy.graph_checks.graph import Constant

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
        if _listed(onnx, inferred.graph) <= _MOST_LISTED:
            inferred = infer_shapes(weightless, data_prop=True)
    except (InferenceError, RuntimeError, TypeError, ValueError):  # an impossible graph
        return {}
    return {
        value.name: value.type
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if value.type.WhichOneof("value") is not None
    }


def _listed(onnx: Any, graph: Any) -> int:
    """Return how many integers the intermediates of a graph list that may hold sizes.

    With ``data_prop`` onnx computes them all, and a few operators can list more than memory holds.
    """
    integers = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    types = [value.type.tensor_type for value in graph.value_info]
    bodies = [each.g for node in graph.node for each in node.attribute if each.HasField("g")]
    return sum(
        each.shape.dim[0].dim_value
        for each in types
        if each.elem_type in integers and len(each.shape.dim) == 1
    ) + sum(_listed(onnx, body) for body in bodies)


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
