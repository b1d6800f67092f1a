"""An ONNX file of float16 with the rounding that it says, on a runtime that leaves it out.

ONNX Runtime has few kernels of float16 for processors. Elsewhere it computes in float32, and takes
the casts between such operators away, those of the file too. A file whose values overflow float16
then answers as if they did not. So it is proved as its twin: everything in float32, and behind each
operator that gives float16 the rounding itself, in standard operators that nobody removes.

    h = 8193 v - (8193 v - v)     11 significant bits, since 8193 = 2^13 + 1
    s = (v + 0.75) - 0.75         multiples of 2^-24, which float16 has below 2^-14
    infinity                      from 65520 on

Sums inside an operator stay in float32, as they do in the units of GPUs that multiply float16.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

_DOMAIN, _NAME = "slide_deploy.half", "Rounded"
# What moves numbers, and gives no others than it takes.
_MOVING = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Tile", "Transpose", "Unsqueeze", "MaxPool", "Relu", "DepthToSpace", "SpaceToDepth"}
)


def has_float16(model: "onnx.ModelProto") -> bool:
    """Whether a file stores float16 or casts to it."""
    from onnx import TensorProto

    half = TensorProto.FLOAT16
    stored = any(each.data_type == half for each in model.graph.initializer)
    return stored or any(
        each.op_type == "Cast" and _target(each).i == half for each in model.graph.node
    )


def rounded_twin(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """A file in float32 whose values are rounded as those of a file of float16 are.

    Args:
        model: a file whose inputs and outputs are not float16, without control flow.
    """
    import onnx
    from onnx import TensorProto, helper

    types = _types(model)
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    graph = twin.graph
    del graph.node[:], graph.value_info[:]
    for tensor in graph.initializer:
        _widen(tensor)
    for node in model.graph.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        for attribute in copy.attribute:
            if attribute.HasField("t"):
                _widen(attribute.t)
        if node.op_type == "Cast" and _target(copy).i == TensorProto.FLOAT16:
            _target(copy).i = TensorProto.FLOAT
        for index, name in enumerate(node.output):
            is_half = types.get(name) == TensorProto.FLOAT16
            if name and is_half and node.op_type not in _MOVING:
                exact = f"{name}.exact"
                copy.output[index] = exact
                graph.node.append(helper.make_node(_NAME, [exact], [name], domain=_DOMAIN))
    twin.functions.append(_function(_opset(model)))
    twin.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return twin


def _function(opset: int) -> "onnx.FunctionProto":
    from onnx import helper, numpy_helper

    nodes = []
    for name, number in {
        "split": 2.0**13 + 1,
        "shift": 0.75,
        "normal": 2.0**-14,
        "largest": 65520.0,
        "infinity": np.inf,
    }.items():
        tensor = numpy_helper.from_array(np.array(number, np.float32), name)
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
    for operator, inputs, output in (
        ("Mul", "v split", "product"),
        ("Sub", "product v", "rest"),
        ("Sub", "product rest", "digits"),
        ("Add", "v shift", "shifted"),
        ("Sub", "shifted shift", "steps"),
        ("Abs", "v", "size"),
        ("Less", "size normal", "is_small"),
        ("Where", "is_small steps digits", "finite"),
        ("GreaterOrEqual", "size largest", "is_large"),
        ("Mul", "v infinity", "endless"),
        ("Where", "is_large endless finite", "h"),
    ):
        nodes.append(helper.make_node(operator, inputs.split(), [output]))
    return helper.make_function(
        _DOMAIN, _NAME, ["v"], ["h"], nodes, [helper.make_opsetid("", opset)]
    )


def _types(model: "onnx.ModelProto") -> dict[str, int]:
    """The type of every value that an operator gives."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = [*inferred.value_info, *inferred.output]
    return {each.name: each.type.tensor_type.elem_type for each in known}


def _widen(tensor: "onnx.TensorProto") -> None:
    from onnx import TensorProto, numpy_helper

    if tensor.data_type == TensorProto.FLOAT16:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _target(cast: "onnx.NodeProto") -> Any:
    return next(each for each in cast.attribute if each.name == "to")


def _opset(model: "onnx.ModelProto") -> int:
    return next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
