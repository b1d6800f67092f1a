"""Damage for the rules of ``check``, to the content of a file in its own format.

Where two formats have the same damage, the kind is named once, in ``catalogue_rules``.
"""

from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import SubElement

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from tests.mutants import mlpackage_damage as coreml
from tests.mutants import onnx_damage as onnx
from tests.mutants import openvino_damage as ir
from tests.mutants.mlpackage_damage import Program
from tests.mutants.openvino_damage import Element

_DOUBLE, _INT32 = 12, 23  # data types of Core ML's messages


# ONNX: wiring.


def value_computed_twice(model: ModelProto) -> None:
    onnx.node(model, "Gelu", 1).output[0] = onnx.node(model, "Gelu").output[0]


def nodes_in_a_circle(model: ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[3].output[0]


def output_of_nothing(model: ModelProto) -> None:
    model.graph.output[0].name = "answers"


def dead_branch(model: ModelProto) -> None:
    last = model.graph.node[-1].output[0]
    model.graph.node.append(helper.make_node("Relu", [last], ["dead"]))


def shift_branch_left_in(model: ModelProto) -> None:
    """A second convolution beside the folded one, and their sum."""
    folded = onnx.grouped(model, 0)
    place, name = list(model.graph.node).index(folded), folded.output[0]
    shift = helper.make_node("", [], [])
    shift.CopyFrom(folded)
    folded.output[0], shift.output[0], shift.name = f"{name}_deformed", f"{name}_shift", "shift"
    added = helper.make_node("Add", [folded.output[0], shift.output[0]], [name], name="branches")
    model.graph.node.insert(place + 1, added)
    model.graph.node.insert(place + 1, shift)


def one_side_missing(model: ModelProto) -> None:
    """The convolution of the values is removed, and its readers read that of the keys."""
    keys, values = onnx.grouped(model, 0), onnx.grouped(model, 1)
    for found in model.graph.node:
        names = {values.output[0]: keys.output[0]}
        found.input[:] = [names.get(name, name) for name in found.input]
    model.graph.node.remove(values)


def neighbours_copied_by_a_convolution(model: ModelProto) -> None:
    """The kernels of the patches are rows of a unit matrix."""
    held = onnx.tensor(model, model.graph.node[0].input[1])
    outputs, *taps = held.dims
    kernels = np.eye(outputs, int(np.prod(taps)), dtype=np.float32).reshape(held.dims)
    held.CopyFrom(numpy_helper.from_array(kernels, held.name))


# ONNX: declarations and constants.


def stored_shape_declared_wrong(model: ModelProto) -> None:
    name = model.graph.initializer[0].name
    declared = next(value for value in model.graph.value_info if value.name == name)
    declared.type.tensor_type.shape.dim[0].dim_value += 1


def no_opset(model: ModelProto) -> None:
    del model.opset_import[:]


def foreign_domain_declared(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def unused_function(model: ModelProto) -> None:
    body, opsets = [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("com.example", "Mine", ["x"], ["y"], body, opsets))


def doubles_stored(model: ModelProto) -> None:
    held = model.graph.initializer[0]
    doubles = numpy_helper.to_array(held).astype(np.float64)
    held.CopyFrom(numpy_helper.from_array(doubles, held.name))


def batch_opened_under_another_name(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"


def height_named_batch(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "batch"


# OpenVINO.


def _port(root: Element, kind: str) -> Element:
    found = ir.layer(root, kind).find("output/port")
    assert found is not None
    return found


def _dim(root: Element, kind: str) -> Element:
    """The size of axis 1, after the batch."""
    return _port(root, kind).findall("dim")[1]


def sum_declared_wrong(root: Element) -> None:
    _dim(root, "Add").text = "7"


def rank_declared_wrong(root: Element) -> None:
    SubElement(_port(root, "Reshape"), "dim").text = "1"


def rank_6_declared(root: Element) -> None:
    for _ in range(3):
        _port(root, "Gelu").insert(0, Element("dim"))
        _port(root, "Gelu")[0].text = "1"


def old_format(root: Element) -> None:
    root.set("version", "10")


def doubles_declared(root: Element) -> None:
    _port(root, "Gelu").set("precision", "FP64")


def size_left_open(root: Element) -> None:
    _dim(root, "Gelu").text = "-1"


def constant_cut_off(root: Element) -> None:
    constant = ir.layer(root, "Const").get("id")
    ir.remove_edges(root, lambda edge: edge.get("from-layer") == constant)


def pads_missing(root: Element) -> None:
    ir.data(ir.layer(root, "GroupConvolution")).set("pads_begin", "0, 0")


def of_type(kind: str) -> Callable[[Element], None]:
    """Another operator instead of the first GELU."""
    return lambda root: ir.layer(root, "Gelu").set("type", kind)


# Core ML.


def _declared(program: Program, kind: str = "gelu") -> Any:
    """The declared type of an operation's output."""
    return program.find(kind).outputs[0].type.tensorType


def product_declared_wrong(program: Program) -> None:
    _declared(program, "matmul").dimensions[1].constant.size += 1


def old_specification(program: Program) -> None:
    program.spec.specificationVersion = 4


def doubles_declared_in_a_program(program: Program) -> None:
    _declared(program).dataType = _DOUBLE


def rank_unknown(program: Program) -> None:
    _declared(program).rank = -1


def size_left_open_in_a_program(program: Program) -> None:
    _declared(program).dimensions[1].unknown.variadic = False


def input_of_integers(program: Program) -> None:
    program.main.inputs[0].type.tensorType.dataType = _INT32


def bias_cut_off(program: Program) -> None:
    del program.find("linear").inputs["bias"]


def infinite(program: Program) -> None:
    """A number of a vector that is stored in the program becomes infinite."""
    tensors = (
        held.attributes["val"].immediateValue.tensor
        for held in program.operations
        if held.type == "const" and held.outputs[0].type.tensorType.rank == 1
    )
    next(held for held in tensors if held.WhichOneof("value") == "floats").floats.values[0] = np.inf


def pads_missing_in_a_program(program: Program) -> None:
    program.literal(coreml.grouped(program, 0), "pad").ints.values[0] = 0


def of_kind(kind: str) -> Callable[[Program], None]:
    """Another operator instead of the first GELU."""

    def edit(program: Program) -> None:
        program.find("gelu").type = kind

    return edit
