"""Rewrite a float16 ONNX file so that ONNX Runtime on a CPU rounds as the file specifies.

ONNX Runtime has few float16 kernels for CPUs. It computes the other operators in float32 and
removes the casts between them, including those of the file. A file whose values overflow float16
then runs as if they did not. So verification runs a rewritten copy: all values are float32, and
each operator with a float16 output is followed by the rounding, written in standard operators that
no optimiser removes.

    h = 8193 v - (8193 v - v)     11 significant bits, since 8193 = 2^13 + 1
    s = (v + 0.75) - 0.75         multiples of 2^-24, which float16 has below 2^-14
    infinity                      if |v| >= 65520

Sums inside an operator stay in float32, as they do in the float16 matmul units of GPUs.
"""

from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slide_deploy.backends.native_messages import line_of
from slide_deploy.backends.onnxruntime import large_models
from slide_deploy.errors import InputError, MissingExtra

if TYPE_CHECKING:
    import onnx

# Types that float32 replaces where reference values are computed: their names here and in ONNX.
OTHER_FLOATS = {"float16": "FLOAT16", "bfloat16": "BFLOAT16", "float64": "DOUBLE"}
_DOMAIN, _NAME = "slide_deploy.half", "Rounded"
# Operators that only move values: their outputs need no rounding.
_MOVING = frozenset(
    {"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Tile", "Transpose", "Unsqueeze", "MaxPool", "Relu", "DepthToSpace", "SpaceToDepth"}
)


def has_float16(model: "onnx.ModelProto") -> bool:
    """Return whether a file stores float16 tensors or casts to float16."""
    from onnx import TensorProto

    half = TensorProto.FLOAT16
    stored = any(each.data_type == half for each in model.graph.initializer)
    return stored or any(
        each.op_type == "Cast" and _target(each).i == half for each in model.graph.node
    )


def in_float32(
    model: "onnx.ModelProto", folder: Path, types: Collection[str] = ("FLOAT16",)
) -> "onnx.ModelProto":
    """Return a copy of a model that stores and computes values of the given types in float32.

    Its inputs and outputs of those types are float32 as well.

    Args:
        model: has no control flow, and no functions that hold such types.
        folder: the folder of its external data.
        types: names of ONNX element types.
    """
    import onnx
    from onnx import TensorProto, numpy_helper

    others = {TensorProto.DataType.Value(each) for each in types}
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    del graph.value_info[:]
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    for attribute in attributes:
        if attribute.name in ("to", "dtype") and attribute.i in others:
            attribute.i = TensorProto.FLOAT
    tensors = [attribute.t for attribute in attributes if attribute.HasField("t")]
    for tensor in (*graph.initializer, *tensors):
        if tensor.data_type in others:
            array = numpy_helper.to_array(tensor, str(folder)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for port in (*graph.input, *graph.output):
        if port.type.tensor_type.elem_type in others:
            port.type.tensor_type.elem_type = TensorProto.FLOAT
    return wide


def file_in_float32(path: Path) -> "onnx.ModelProto | None":
    """Return a file with `OTHER_FLOATS` as a model that computes in float32.

    Returns:
        The model, or None if the file has control flow.

    Raises:
        InputError: if the file is damaged.
        MissingExtra: without onnx.
    """
    if find_spec("onnx") is None:
        raise MissingExtra("onnx", "onnx")
    from onnx import inliner

    try:
        model = inliner.inline_local_functions(large_models.load(path))
        if any(each.HasField("g") for node in model.graph.node for each in node.attribute):
            return None
        return in_float32(model, path.parent, OTHER_FLOATS.values())
    except Exception as error:  # onnx has no base class for its errors
        raise InputError(f"{path} cannot be computed in float32 ({line_of(error)}).") from error


def with_rounding(model: "onnx.ModelProto", folder: Path) -> "onnx.ModelProto":
    """Return a float32 copy of a float16 model, with the rounding to float16 written out.

    Its inputs and outputs are float32 as well. Inputs are not rounded: give numbers of float16.

    Args:
        model: has no control flow.
        folder: the folder of its external data.
    """
    from onnx import TensorProto, helper

    types = _types(model)
    rounded = in_float32(model, folder)
    graph = rounded.graph
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        copy = graph.node.add()
        copy.CopyFrom(node)
        for index, name in enumerate(node.output):
            is_half = types.get(name) == TensorProto.FLOAT16
            if name and is_half and node.op_type not in _MOVING:
                exact = f"{name}.exact"
                copy.output[index] = exact
                graph.node.append(helper.make_node(_NAME, [exact], [name], domain=_DOMAIN))
    rounded.functions.append(_function(_opset(model)))
    rounded.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return rounded


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
    """Return the element type of every output of an operator, by name."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = [*inferred.value_info, *inferred.output]
    return {each.name: each.type.tensor_type.elem_type for each in known}


def _target(cast: "onnx.NodeProto") -> Any:
    return next(each for each in cast.attribute if each.name == "to")


def _opset(model: "onnx.ModelProto") -> int:
    return next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
