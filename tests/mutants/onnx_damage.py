"""Damage to a written ONNX file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from slide_deploy.graph_checks.declarations import PRECISION_KEY


def in_graph(edit: Callable[[ModelProto], object]) -> Callable[[Path], None]:
    """Damage to the message of a file."""

    def damage(path: Path) -> None:
        model = onnx.load(path)
        edit(model)
        path.write_bytes(model.SerializeToString())

    return damage


def node(model: ModelProto, operator: str, index: int = 0) -> NodeProto:
    return [found for found in model.graph.node if found.op_type == operator][index]


def grouped(model: ModelProto, index: int) -> NodeProto:
    """The convolutions of slide attention: keys, values of the first, keys, values of the next."""
    return [
        found
        for found in model.graph.node
        if found.op_type == "Conv" and attribute(found, "group").i > 1
    ][index]


def attribute(node: NodeProto, name: str) -> AttributeProto:
    return next(held for held in node.attribute if held.name == name)


def tensor(model: ModelProto, name: str) -> TensorProto:
    return next(held for held in model.graph.initializer if held.name == name)


def one_weight_larger(model: ModelProto) -> None:
    """One number of a convolution's weight grows by 0.5."""
    held = [each for each in model.graph.initializer if len(each.dims) == 4][3]
    values = numpy_helper.to_array(held).copy()
    values.flat[0] += 0.5
    held.CopyFrom(numpy_helper.from_array(values, held.name))


def detour(model: ModelProto, behind: NodeProto, *steps: NodeProto) -> None:
    """Let what a node computes pass through others, whose first input and output are tied here."""
    name, at = behind.output[0], list(model.graph.node).index(behind) + 1
    behind.output[0] = before = f"{name}_step_0"
    for number, step in enumerate(steps, start=1):
        step.input.insert(0, before)
        before = name if number == len(steps) else f"{name}_step_{number}"
        step.output[:] = [before]
        model.graph.node.insert(at + number - 1, step)


def constant(model: ModelProto, name: str, values: object) -> str:
    model.graph.initializer.append(constant_tensor(name, values))
    return name


def constant_tensor(name: str, values: object) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def metadata(model: ModelProto, key: str, change: Callable[[str], str]) -> None:
    entry = next(held for held in model.metadata_props if held.key == key)
    entry.value = change(entry.value)


def reshape(model: ModelProto, name: str, sizes: tuple[int, ...]) -> NodeProto:
    return helper.make_node("Reshape", [constant(model, name, np.array(sizes))], [name])


def foreign_domain(model: ModelProto) -> None:
    node(model, "Gelu").domain = "com.example"


def unlisted_operator(model: ModelProto) -> None:
    node(model, "Gelu").op_type = "Sinh"
    del node(model, "Sinh").attribute[:]


def own_function(model: ModelProto) -> None:
    body = [helper.make_node("Gelu", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("own", "Mine", ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("own", 1))
    called = node(model, "Gelu")
    called.op_type, called.domain = "Mine", "own"
    del called.attribute[:]


def old_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 13


def opset_of_the_future(model: ModelProto) -> None:
    model.opset_import[0].version = 99


def format_of_the_future(model: ModelProto) -> None:
    model.ir_version = 99


def rank_6(model: ModelProto) -> None:
    up = reshape(model, "up", (1, 2, 4, 4, 32, 32))
    detour(model, node(model, "Gelu"), up, reshape(model, "down", (1, 32 * 32, 32)))


def rank_5_in_slide_attention(model: ModelProto) -> None:
    up = reshape(model, "up", (1, 16, 9, 16, 16))
    detour(model, grouped(model, 2), up, reshape(model, "down", (1, 144, 16, 16)))


def through(type: int) -> Callable[[ModelProto], None]:
    """A detour through another type."""

    def edit(model: ModelProto) -> None:
        there = helper.make_node("Cast", [], ["there"], to=type)
        back = helper.make_node("Cast", [], ["back"], to=TensorProto.FLOAT)
        detour(model, node(model, "Gelu"), there, back)

    return edit


def renamed_input(model: ModelProto) -> None:
    model.graph.input[0].name = "picture"
    model.graph.node[0].input[0] = "picture"


def renamed_output(model: ModelProto) -> None:
    model.graph.output[0].name = "scores"
    model.graph.node[-1].output[0] = "scores"


def open_height(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def batch_of_another_name(model: ModelProto) -> None:
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "n"


def smaller_image(model: ModelProto) -> None:
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 64


def fewer_channels(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1


def input_of_doubles(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    first = model.graph.node[0]
    cast = helper.make_node("Cast", ["image"], ["single"], to=TensorProto.FLOAT)
    first.input[0] = "single"
    model.graph.node.insert(0, cast)


def batch_fixed_inside(model: ModelProto) -> None:
    """The last reshape that starts with an open batch gets a batch of one."""
    for found in reversed(model.graph.node):
        if found.op_type == "Reshape":
            sizes = numpy_helper.to_array(tensor(model, found.input[1])).copy()
            if sizes[0] == -1:
                sizes[0] = 1
                found.input[1] = constant(model, "fixed", sizes)
                return
    raise AssertionError("no reshape keeps the batch open")


def stale_constant(model: ModelProto) -> None:
    constant(model, "stale", np.ones(3, np.float32))


def duplicated_constant(model: ModelProto) -> None:
    """The position bias of windows is stored twice; the difference of the two is added."""
    logits = node(model, "Softmax", -1).input[0]
    (addition,) = (each for each in model.graph.node if logits in each.output)
    held = {each.name for each in model.graph.initializer}
    (wide,) = (name for name in addition.input if name in held)
    twin = constant(model, "twin", numpy_helper.to_array(tensor(model, wide)))
    model.graph.node.insert(0, helper.make_node("Sub", [wide, twin], ["nothing"]))
    detour(model, node(model, "Softmax", -1), helper.make_node("Add", ["nothing"], ["sum"]))


def control_flow(model: ModelProto) -> None:
    gelu = node(model, "Gelu")
    name = gelu.output[0]
    gelu.output[0] = "before"

    def body(result: str) -> GraphProto:
        same = helper.make_node("Identity", ["before"], [result])
        value = helper.make_tensor_value_info(result, TensorProto.FLOAT, [1, 1024, 32])
        return helper.make_graph([same], result, [], [value])

    choice = helper.make_node(
        "If",
        [constant(model, "always", True)],
        [name],
        then_branch=body("then"),
        else_branch=body("else"),
    )
    model.graph.node.insert(list(model.graph.node).index(gelu) + 1, choice)


def gather_with_a_table(model: ModelProto) -> None:
    table = constant(model, "table", np.arange(1024).reshape(32, 32))
    gather = helper.make_node("Gather", [table], ["gathered"], axis=1)
    detour(model, node(model, "Gelu"), gather, reshape(model, "rows", (1, 1024, 32)))


def neighbours_gathered(model: ModelProto) -> None:
    """Nine neighbours of every position, of which only the one in the middle is used."""
    neighbours = np.clip(np.arange(1024)[:, None] + np.arange(-4, 5), 0, 1023)
    table = constant(model, "table", neighbours.reshape(-1))
    gather = helper.make_node("Gather", [table], ["gathered"], axis=1)
    bounds = [constant(model, f"bound_{value}", np.array([value])) for value in (4, 5, 2)]
    middle = helper.make_node("Slice", bounds, ["middle"])
    steps = (gather, reshape(model, "grid", (1, 1024, 9, 32)), middle)
    detour(model, node(model, "Gelu"), *steps, reshape(model, "rows", (1, 1024, 32)))


def no_metadata(model: ModelProto) -> None:
    del model.metadata_props[:]


def declared(key: str, change: Callable[[str], str]) -> Callable[[ModelProto], None]:
    """Another text in what the exporter stored."""
    return lambda model: metadata(model, key, change)


def half_precision_claimed(model: ModelProto) -> None:
    metadata(model, PRECISION_KEY, lambda text: "float16")


def weights_outside(model: ModelProto) -> None:
    held = model.graph.initializer[0]
    held.ClearField("raw_data")
    held.data_location = TensorProto.EXTERNAL
    held.external_data.add(key="location", value="../../weights.bin")


def second_input(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1]))


def training_graph_left_in(model: ModelProto) -> None:
    stale = constant_tensor("optimiser.step", np.ones(1000, np.float32))
    model.training_info.add().algorithm.CopyFrom(
        helper.make_graph([], "training", [], [], initializer=[stale])
    )


def clipped(model: ModelProto) -> None:
    bounds = [constant(model, name, np.float32(at)) for name, at in (("low", -3), ("high", 3))]
    detour(model, node(model, "Gelu"), helper.make_node("Clip", bounds, ["clipped"]))


def output_removed(model: ModelProto) -> None:
    del model.graph.output[:]


def second_output(model: ModelProto) -> None:
    name = node(model, "Softmax").output[0]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def weights_of_another_type(model: ModelProto) -> None:
    tensor(model, "layers.1.blocks.0.mlp.fc2.bias").data_type = TensorProto.INT32


def declared_shape_wrong(model: ModelProto) -> None:
    name = node(model, "Gelu").output[0]
    value = next(held for held in model.graph.value_info if held.name == name)
    value.type.tensor_type.shape.dim[2].dim_value = 31


def wrong_groups(model: ModelProto) -> None:
    attribute(grouped(model, 2), "group").i = 1


def pads_on_one_side(model: ModelProto) -> None:
    attribute(grouped(model, 2), "pads").ints[:] = [2, 2, 0, 0]


def dilated(model: ModelProto) -> None:
    attribute(grouped(model, 2), "dilations").ints[:] = [2, 2]
    attribute(grouped(model, 2), "pads").ints[:] = [2, 2, 2, 2]


def softmax_over_positions(model: ModelProto) -> None:
    attribute(node(model, "Softmax", 1), "axis").i = 3


def window_softmax_over_queries(model: ModelProto) -> None:
    attribute(node(model, "Softmax", 3), "axis").i = 2


def epsilon(value: float, *indices: int) -> Callable[[ModelProto], None]:
    """Another epsilon in some normalisations, or in all."""

    def edit(model: ModelProto) -> None:
        operators = ("LayerNormalization", "Sqrt")
        norms = [found for found in model.graph.node if found.op_type in operators]
        for index in indices or range(len(norms)):
            if norms[index].op_type == "Sqrt":
                epsilon_of_maps(model, norms[index], value)
            else:
                attribute(norms[index], "epsilon").f = value

    return edit


def epsilon_of_maps(model: ModelProto, root: NodeProto, value: float) -> None:
    """Another epsilon in a normalisation that is written out."""
    mean = mean_of_squares(model, root)
    mean.input[2] = held(model, f"{root.name} epsilon", np.full(1, value, np.float32))


def mean_of_squares(model: ModelProto, root: NodeProto) -> NodeProto:
    """The convolution of a normalisation that is written out which adds the epsilon."""
    producers = {name: found for found in model.graph.node for name in found.output}
    found = producers[root.input[0]]
    terms = [found] if found.op_type == "Conv" else [producers[name] for name in found.input]
    (mean,) = [term for term in terms if len(term.input) == 3]
    return mean


def held(model: ModelProto, name: str, numbers: np.ndarray | np.float32) -> str:
    """Store a tensor; gives back its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(numbers), name))
    return name


def tanh_gelu(model: ModelProto) -> None:
    for found in model.graph.node:
        if found.op_type == "Gelu":
            attribute(found, "approximate").s = b"tanh"


def residual_subtracted(model: ModelProto) -> None:
    """In the sum behind the first MLP; sums of a bias have one input that is stored."""
    stored = {held.name for held in model.graph.initializer}
    sums = [
        found
        for found in model.graph.node
        if found.op_type == "Add" and not stored & set(found.input)
    ]
    sums[1].op_type = "Sub"


def values_read_the_keys(model: ModelProto) -> None:
    grouped(model, 3).input[0] = grouped(model, 2).input[0]


def nodes_reversed(model: ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


def reads_what_nothing_computes(model: ModelProto) -> None:
    node(model, "Gelu").input[0] = "nowhere"


def quantised_detour(model: ModelProto) -> None:
    scale, zero = constant(model, "scale", np.float32(0.05)), constant(model, "zero", np.int8(0))
    there = helper.make_node("QuantizeLinear", [scale, zero], ["there"])
    back = helper.make_node("DequantizeLinear", [scale, zero], ["back"])
    detour(model, node(model, "Gelu"), there, back)
