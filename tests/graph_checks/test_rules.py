"""Each rule sees the damage that it is there for, in every format that can have it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from slide_deploy.graph_checks import RULES, Report, check_file, standard_ops
from slide_deploy.graph_checks.declarations import ATTENTIONS_KEY
from tests.graph_checks.damage import (
    EDITORS,
    Element,
    attribute,
    copied,
    edit_onnx,
    grouped,
    layer,
    literal,
    node,
    operation,
    operations,
)
from tests.graph_checks.small_models import Files, branched_swin

DAMAGES: list[tuple[str, str, Callable[[Any], object]]] = []


def damage(rule: str, format: str) -> Callable[[Callable[[Any], object]], Callable[..., object]]:
    def add(edit: Callable[[Any], object]) -> Callable[..., object]:
        DAMAGES.append((rule, format, edit))
        return edit

    return add


# SD001: every value is computed once and before it is read.


@damage("SD001", "onnx")
def reads_what_nothing_computes(model: onnx.ModelProto) -> None:
    node(model, "Gelu").input[0] = "nowhere"


@damage("SD001", "onnx")
def computes_a_value_twice(model: onnx.ModelProto) -> None:
    node(model, "Gelu", 1).output[0] = node(model, "Gelu").output[0]


@damage("SD001", "onnx")
def runs_backwards(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


@damage("SD001", "onnx")
def waits_in_a_circle(model: onnx.ModelProto) -> None:
    first = model.graph.node[0]
    first.input[0] = model.graph.node[3].output[0]


@damage("SD001", "onnx")
def lacks_its_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "answers"


@damage("SD001", "openvino")
def loses_an_edge(root: Element) -> None:
    edges = root.find("edges")
    assert edges is not None
    edges.remove(edges[5])


@damage("SD001", "coreml")
def reads_an_unknown_name(model: Any) -> None:
    operation(model, "gelu").inputs["x"].arguments[0].name = "nowhere"


# SD002: declared shapes are those that the operators give.


@damage("SD002", "onnx")
def declares_an_initialiser_of_another_shape(model: onnx.ModelProto) -> None:
    name = model.graph.initializer[0].name
    declared = next(value for value in model.graph.value_info if value.name == name)
    declared.type.tensor_type.shape.dim[0].dim_value += 1


@damage("SD002", "openvino")
def declares_another_sum(root: Element) -> None:
    size = layer(root, "Add").find("output/port/dim[2]")
    assert size is not None
    size.text = "7"


@damage("SD002", "openvino")
def hides_a_rank_behind_a_declared_shape(root: Element) -> None:
    port = layer(root, "Reshape").find("output/port")
    assert port is not None
    port.append(Element("dim"))
    port[-1].text = "1"


@damage("SD002", "coreml")
def declares_another_product(model: Any) -> None:
    tensor = operation(model, "matmul").outputs[0].type.tensorType
    tensor.dimensions[1].constant.size += 1


# SD003: versions.


@damage("SD003", "onnx")
def asks_for_an_old_operator_set(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9


@damage("SD003", "onnx")
def asks_for_no_operator_set(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


@damage("SD003", "onnx")
def has_a_file_format_of_the_future(model: onnx.ModelProto) -> None:
    model.ir_version = 99


@damage("SD003", "openvino")
def has_an_old_file_format(root: Element) -> None:
    root.set("version", "10")


@damage("SD003", "openvino")
def has_an_operator_set_of_the_future(root: Element) -> None:
    layer(root, "Gelu").set("version", "opset99")


@damage("SD003", "coreml")
def has_an_old_specification(model: Any) -> None:
    model.specificationVersion = 4


# SD004 and SD005: operators and domains.


@damage("SD004", "onnx")
def uses_an_operator_that_is_not_listed(model: onnx.ModelProto) -> None:
    node(model, "Gelu").op_type = "Mish"


@damage("SD004", "openvino")
def uses_a_layer_that_is_not_listed(root: Element) -> None:
    layer(root, "Gelu").set("type", "Mish")


@damage("SD004", "coreml")
def uses_an_operation_that_is_not_listed(model: Any) -> None:
    operation(model, "gelu").type = "softplus"


@damage("SD005", "onnx")
def uses_a_custom_domain(model: onnx.ModelProto) -> None:
    node(model, "Gelu").domain = "com.example"


@damage("SD005", "onnx")
def asks_for_a_custom_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


@damage("SD005", "onnx")
def defines_an_operator_itself(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Relu", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("com.example", "Mine", ["x"], ["y"], body, opsets))


@damage("SD005", "openvino")
def uses_an_extension(root: Element) -> None:
    layer(root, "Gelu").set("version", "extension")


# SD006: control flow.


@damage("SD006", "onnx")
def branches(model: onnx.ModelProto) -> None:
    output = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [1, 4])
    body = helper.make_graph(
        [helper.make_node("Identity", [model.graph.node[-1].output[0]], ["chosen"])],
        "body",
        [],
        [output],
    )
    always = numpy_helper.from_array(np.array(True), "always")
    model.graph.initializer.append(always)
    model.graph.node[-1].output[0] = "before"
    body.node[0].input[0] = "before"
    model.graph.node.append(
        helper.make_node("If", ["always"], ["logits"], then_branch=body, else_branch=body)
    )


@damage("SD006", "openvino")
def loops(root: Element) -> None:
    layer(root, "Gelu").set("type", "TensorIterator")


@damage("SD006", "coreml")
def loops_in_a_block(model: Any) -> None:
    operation(model, "gelu").type = "while_loop"


# SD007: types.


@damage("SD007", "onnx")
def stores_doubles(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    doubled = numpy_helper.to_array(tensor).astype(np.float64)
    tensor.CopyFrom(numpy_helper.from_array(doubled, tensor.name))


@damage("SD007", "onnx")
def computes_doubles(model: onnx.ModelProto) -> None:
    to_double(model, node(model, "Gelu"))


@damage("SD007", "openvino")
def declares_doubles(root: Element) -> None:
    port = layer(root, "Gelu").find("output/port")
    assert port is not None
    port.set("precision", "FP64")


@damage("SD007", "coreml")
def declares_doubles_in_a_program(model: Any) -> None:
    operation(model, "gelu").outputs[0].type.tensorType.dataType = 12


def to_double(model: onnx.ModelProto, after: onnx.NodeProto) -> None:
    name = after.output[0]
    after.output[0] = f"{name}_single"
    there = helper.make_node("Cast", [f"{name}_single"], [f"{name}_double"], to=TensorProto.DOUBLE)
    back = helper.make_node("Cast", [f"{name}_double"], [name], to=TensorProto.FLOAT)
    insert_behind(model, after, there, back)


# SD008: rank.


@damage("SD008", "onnx")
def has_rank_6(model: onnx.ModelProto) -> None:
    raise_rank(model, node(model, "Gelu"), (0, 1, 2))


@damage("SD008", "onnx")
def has_rank_5_inside_slide_attention(model: onnx.ModelProto) -> None:
    raise_rank(model, grouped(model), (0,))


@damage("SD008", "openvino")
def declares_rank_6(root: Element) -> None:
    port = layer(root, "Gelu").find("output/port")
    assert port is not None
    for _ in range(3):
        port.insert(0, Element("dim"))
        port[0].text = "1"


@damage("SD008", "coreml")
def has_an_unknown_rank(model: Any) -> None:
    operation(model, "gelu").outputs[0].type.tensorType.rank = -1


def raise_rank(model: onnx.ModelProto, after: onnx.NodeProto, axes: tuple[int, ...]) -> None:
    name = after.output[0]
    after.output[0] = f"{name}_low"
    model.graph.initializer.append(numpy_helper.from_array(np.array(axes), f"{name}_axes"))
    up = helper.make_node("Unsqueeze", [f"{name}_low", f"{name}_axes"], [f"{name}_high"])
    down = helper.make_node("Squeeze", [f"{name}_high", f"{name}_axes"], [name])
    insert_behind(model, after, up, down)


def insert_behind(model: onnx.ModelProto, after: onnx.NodeProto, *nodes: onnx.NodeProto) -> None:
    at = list(model.graph.node).index(after) + 1
    for offset, inserted in enumerate(nodes):
        model.graph.node.insert(at + offset, inserted)


# SD009 and SD010: sizes inside, and the interface.


@damage("SD009", "openvino")
def leaves_a_width_open(root: Element) -> None:
    size = layer(root, "Gelu").find("output/port/dim[2]")
    assert size is not None
    size.text = "-1"


@damage("SD009", "coreml")
def leaves_a_size_open(model: Any) -> None:
    size = operation(model, "gelu").outputs[0].type.tensorType.dimensions[1]
    size.unknown.variadic = False


@damage("SD009", "onnx")
def names_the_batch_otherwise(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"


@damage("SD010", "onnx")
def renames_the_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "picture"


@damage("SD010", "onnx")
def leaves_the_height_open(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "batch"


@damage("SD010", "openvino")
def renames_the_output(root: Element) -> None:
    for port in root.iterfind("layers/layer/output/port[@names='logits']"):
        port.set("names", "answers")


@damage("SD010", "coreml")
def takes_whole_numbers(model: Any) -> None:
    model.mlProgram.functions["main"].inputs[0].type.tensorType.dataType = 23


# SD013 to SD015: what is stored.


@damage("SD013", "onnx")
def keeps_a_stale_initialiser(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "stale"))


@damage("SD013", "onnx")
def keeps_a_dead_branch(model: onnx.ModelProto) -> None:
    dead = helper.make_node("Relu", [model.graph.node[-1].output[0]], ["dead"])
    model.graph.node.append(dead)


@damage("SD013", "openvino")
def forgets_a_constant(root: Element) -> None:
    edges = root.find("edges")
    constant = layer(root, "Const").get("id")
    assert edges is not None
    for edge in list(edges):
        if edge.get("from-layer") == constant:
            edges.remove(edge)


@damage("SD013", "coreml")
def forgets_a_bias(model: Any) -> None:
    del operation(model, "linear").inputs["bias"]


@damage("SD014", "onnx")
def stores_a_weight_twice(model: onnx.ModelProto) -> None:
    product = next(
        found for found in model.graph.node if found.op_type == "MatMul" and large(model, found)
    )
    original = large(model, product)
    assert original is not None
    copy = model.graph.initializer.add()
    copy.CopyFrom(original)
    copy.name = f"{original.name}_copy"
    product.input[1] = copy.name
    insert_behind(model, product, helper.make_node("Shape", [original.name], ["shape_of_original"]))


def large(model: onnx.ModelProto, product: onnx.NodeProto) -> onnx.TensorProto | None:
    return next(
        (
            tensor
            for tensor in model.graph.initializer
            if tensor.name == product.input[1] and len(tensor.raw_data) >= 1024
        ),
        None,
    )


@damage("SD015", "onnx")
def holds_nan(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[3] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


@damage("SD015", "coreml")
def holds_infinity(model: Any) -> None:
    numbers = next(
        held.attributes["val"].immediateValue.tensor.floats.values
        for held in operations(model)
        if held.type == "const"
        and held.attributes["val"].immediateValue.tensor.WhichOneof("value") == "floats"
        and held.outputs[0].type.tensorType.rank == 1
    )
    numbers[0] = np.inf


# SD016: unfold.


@damage("SD016", "onnx")
def gathers_neighbourhoods(model: onnx.ModelProto) -> None:
    first = model.graph.node[0]
    name = first.output[0]
    first.output[0] = f"{name}_map"
    table = np.arange(14)[None, :] + np.arange(3)[:, None]
    model.graph.initializer.append(numpy_helper.from_array(table, "table"))
    gather = helper.make_node("Gather", [f"{name}_map", "table"], [name], axis=2)
    insert_behind(model, first, gather)


@damage("SD016", "openvino")
def extracts_patches(root: Element) -> None:
    layer(root, "Gelu").set("type", "ExtractImagePatches")


@damage("SD016", "coreml")
def slides_windows(model: Any) -> None:
    operation(model, "gelu").type = "sliding_windows"


@damage("SD016", "onnx")
def copies_neighbours_by_a_dense_convolution(model: onnx.ModelProto) -> None:
    patches = model.graph.node[0]
    tensor = next(held for held in model.graph.initializer if held.name == patches.input[1])
    kernel = np.zeros((8, 3 * 4 * 4), np.float32)
    kernel[np.arange(8), np.arange(8)] = 1
    tensor.CopyFrom(numpy_helper.from_array(kernel.reshape(8, 3, 4, 4), tensor.name))


# SD017: folded slide attention.


@damage("SD017", "onnx")
def pads_less(model: onnx.ModelProto) -> None:
    pads = attribute(grouped(model), "pads").ints
    pads[:] = [0, 0, 2, 2]


@damage("SD017", "openvino")
def pads_less_in_a_layer(root: Element) -> None:
    data = layer(root, "GroupConvolution").find("data")
    assert data is not None
    data.set("pads_begin", "0, 0")


@damage("SD017", "coreml")
def pads_less_in_an_operation(model: Any) -> None:
    convolution = next(
        found
        for found in operations(model)
        if found.type == "conv" and literal(model, argument(found, "groups")).ints.values[0] > 1
    )
    literal(model, argument(convolution, "pad")).ints.values[0] = 0


def argument(operation: Any, parameter: str) -> str:
    return str(operation.inputs[parameter].arguments[0].name)


@damage("SD017", "onnx")
def leaves_the_shift_branch_in(model: onnx.ModelProto) -> None:
    folded = grouped(model)
    name = folded.output[0]
    shift = onnx.NodeProto()
    shift.CopyFrom(folded)
    folded.output[0], shift.output[0] = f"{name}_deformed", f"{name}_shift"
    shift.name = "shift"
    added = helper.make_node("Add", [f"{name}_deformed", f"{name}_shift"], [name], name="branches")
    insert_behind(model, folded, shift, added)


@damage("SD017", "onnx")
def lacks_a_side(model: onnx.ModelProto) -> None:
    values = grouped(model, 1)
    keys = grouped(model, 0)
    for found in model.graph.node:
        for index, name in enumerate(found.input):
            if name == values.output[0]:
                found.input[index] = keys.output[0]
    model.graph.node.remove(values)


@damage("SD017", "onnx")
def declares_nothing(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


@damage("SD017", "openvino")
def declares_nothing_in_rt_info(root: Element) -> None:
    section = root.find("rt_info")
    assert section is not None
    root.remove(section)


@damage("SD017", "coreml")
def declares_an_unknown_lowering(model: Any) -> None:
    held = model.description.metadata.userDefined
    held[ATTENTIONS_KEY] = held[ATTENTIONS_KEY].replace("depthwise", "sideways", 1)


@damage("SD017", "coreml")
def declares_no_lowering(model: Any) -> None:
    held = model.description.metadata.userDefined
    held[ATTENTIONS_KEY] = held[ATTENTIONS_KEY].replace('"lowering": "depthwise", ', "", 1)


@damage("SD017", "coreml")
def declares_half_a_strip(model: Any) -> None:
    held = model.description.metadata.userDefined
    held[ATTENTIONS_KEY] = held[ATTENTIONS_KEY].replace('"strips": 1', '"strips": 0.5', 1)


@damage("SD017", "coreml")
def declares_no_json(model: Any) -> None:
    model.description.metadata.userDefined[ATTENTIONS_KEY] = "[{"


@damage("SD017", "coreml")
def declares_numbers_that_do_not_fit(model: Any) -> None:
    held = model.description.metadata.userDefined
    held[ATTENTIONS_KEY] = held[ATTENTIONS_KEY].replace('"heads": 1', '"heads": 3')


@damage("SD017", "coreml")
def declares_one_attention_more(model: Any) -> None:
    held = model.description.metadata.userDefined
    held[ATTENTIONS_KEY] = held[ATTENTIONS_KEY].replace(
        "[", '[{"name": "x", "channels": 8, "kernel_size": 3, "heads": 1, "head_dim": 8}, ', 1
    )


@pytest.mark.parametrize(
    ("rule", "format", "edit"), DAMAGES, ids=[f"{r}-{f}-{e.__name__}" for r, f, e in DAMAGES]
)
def test_damage_is_seen(
    exported: Files, tmp_path: Path, rule: str, format: str, edit: Callable[[Any], object]
) -> None:
    report = check_file(EDITORS[format](exported[format], tmp_path, edit))
    assert not report.passed
    assert rule in {violation.rule for violation in report.errors}
    assert all(violation.message and violation.remedy for violation in report.violations)


def test_every_rule_has_damage_or_a_test_of_its_own() -> None:
    elsewhere = {"SD011", "SD012", "SD018", "SD019", "SD020", "SD021"}
    assert {rule for rule, _, _ in DAMAGES} | elsewhere == {rule.id for rule in RULES}


def test_identifiers_are_unique_and_in_order() -> None:
    identifiers = [rule.id for rule in RULES]
    assert identifiers == sorted(set(identifiers))
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_nan_in_the_weights_of_an_ir_file_is_seen(exported: Files, tmp_path: Path) -> None:
    path = copied(exported["openvino"], tmp_path)
    weights = bytearray(path.with_suffix(".bin").read_bytes())
    weights[:4] = np.float32(np.nan).tobytes()
    path.with_suffix(".bin").write_bytes(weights)
    assert rules_broken(check_file(path)) == {"SD015"}


def test_half_precision_overflow_is_seen(exported: Files, tmp_path: Path) -> None:
    def to_half(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        with np.errstate(over="ignore"):
            half = (1e6 * numpy_helper.to_array(tensor)).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))

    assert "SD015" in rules_broken(check_file(edit_onnx(exported["onnx"], tmp_path, to_half)))


def test_the_policy_limits_file_size_and_parameters(exported: Files) -> None:
    strict = replace(standard_ops(), max_file_bytes=1000, max_parameters=1000)
    for path in exported.values():
        assert rules_broken(check_file(path, strict)) == {"SD011", "SD012"}


def test_a_policy_of_static_shapes_refuses_an_open_batch(exported_dynamic: Files) -> None:
    static = replace(standard_ops(), dynamic_names=frozenset())
    for path in exported_dynamic.values():
        assert rules_broken(check_file(path, static)) == {"SD009", "SD010"}


def test_a_branched_model_is_refused(tmp_path: Path) -> None:
    report = check_file(branched_swin(tmp_path))
    messages = [found.message for found in report.violations if found.rule == "SD017"]
    assert any("two branches" in message for message in messages)
    # One head: the branches have the declared geometry and are too many; two: another geometry.
    assert any("and the graph has 8" in message for message in messages)
    assert any("and the graph has 0" in message for message in messages)


def test_many_violations_of_one_rule_are_cut_short(exported: Files) -> None:
    nothing_allowed = replace(standard_ops(), value_types=frozenset())
    report = check_file(exported["onnx"], nothing_allowed)
    types = [violation for violation in report.violations if violation.rule == "SD007"]
    assert len(types) == 26
    assert types[-1].message == "There are more than 25 violations of this rule."


def rules_broken(report: Report) -> set[str]:
    return {violation.rule for violation in report.violations}
