"""Damage to a written OpenVINO file: in its XML, or through OpenVINO's own model."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from slide_deploy.graph_checks.declarations import PRECISION_KEY

Element = ElementTree.Element
Edit = Callable[[Path], None]


def in_xml(edit: Callable[[Element], object]) -> Edit:
    """Damage to the text of the file."""

    def damage(path: Path) -> None:
        root = ElementTree.parse(path).getroot()
        edit(root)
        path.write_bytes(ElementTree.tostring(root))

    return damage


def in_model(edit: Callable[[Any], object]) -> Edit:
    """Damage to the model, which OpenVINO then writes."""

    def damage(path: Path) -> None:
        import openvino

        source = path.parent / "source"
        source.mkdir()
        for file in (path, path.with_suffix(".bin")):
            shutil.move(file, source / file.name)
        model = openvino.Core().read_model(source / path.name)
        edit(model)
        openvino.save_model(model, path, compress_to_fp16=False)
        del model
        shutil.rmtree(source)

    return damage


# In the XML.


def layer(root: Element, kind: str, index: int = 0) -> Element:
    return root.findall(f"layers/layer[@type='{kind}']")[index]


def data(layer: Element) -> Element:
    found = layer.find("data")
    assert found is not None
    return found


def with_data(kind: str, indices: tuple[int, ...], **values: str) -> Callable[[Element], None]:
    """Other attributes of some layers of a kind, or of all."""

    def edit(root: Element) -> None:
        layers = root.findall(f"layers/layer[@type='{kind}']")
        for index in indices or range(len(layers)):
            for key, value in values.items():
                assert key in data(layers[index]).attrib
                data(layers[index]).set(key, value)

    return edit


def foreign_domain(root: Element) -> None:
    layer(root, "Gelu").set("version", "extension")


def unlisted_operator(root: Element) -> None:
    gelu = layer(root, "Gelu")
    gelu.set("type", "Sinh")
    gelu.set("version", "opset1")
    gelu.remove(data(gelu))


def opset_of_the_future(root: Element) -> None:
    layer(root, "Gelu").set("version", "opset99")


def format_of_the_future(root: Element) -> None:
    root.set("version", "99")


def renamed(kind: str, name: str, other: str) -> Callable[[Element], None]:
    """Another name for the input or the output."""

    def edit(root: Element) -> None:
        for port in root.iterfind("layers/layer/output/port"):
            names = port.get("names", "").split(",")
            if name in names:
                port.set("names", ",".join(other if held == name else held for held in names))
        layer(root, kind).set("name", other)

    return edit


def parameter_shape(text: str, sizes: tuple[int, ...]) -> Callable[[Element], None]:
    """Another shape of the input: as its data say it, and as its port says it."""

    def edit(root: Element) -> None:
        parameter = layer(root, "Parameter")
        data(parameter).set("shape", text)
        for dim, size in zip(parameter.iterfind("output/port/dim"), sizes, strict=True):
            dim.text = str(size)

    return edit


open_height = parameter_shape("1,3,?,128", (1, 3, -1, 128))
open_height_in_data_only = parameter_shape("1,3,?,128", (1, 3, 128, 128))
doubles_in_data_only = with_data("Parameter", (0,), element_type="f64")
fewer_channels = parameter_shape("1,1,128,128", (1, 1, 128, 128))
smaller_image = parameter_shape("1,3,64,64", (1, 3, 64, 64))


def stale_constant(root: Element) -> None:
    layers = root.find("layers")
    assert layers is not None
    copy = ElementTree.fromstring(ElementTree.tostring(layer(root, "Const")))
    copy.set("id", "100000")
    copy.set("name", "stale")
    for port in copy.iterfind("output/port"):
        port.attrib.pop("names", None)
    layers.append(copy)


def declared(key: str, change: Callable[[str], str]) -> Callable[[Element], None]:
    """Another text in what the exporter stored."""

    def edit(root: Element) -> None:
        entry = root.find(f"rt_info/{key.replace('.', '/')}")
        assert entry is not None
        entry.set("value", change(entry.get("value", "")))

    return edit


def no_metadata(root: Element) -> None:
    section = root.find("rt_info")
    assert section is not None
    root.remove(section)


half_precision_claimed = declared(PRECISION_KEY, lambda text: "float16")


def weights_outside(root: Element) -> None:
    data(layer(root, "Const", 20)).set("offset", str(1 << 40))


def output_removed(root: Element) -> None:
    layers, result = root.find("layers"), layer(root, "Result")
    assert layers is not None
    layers.remove(result)
    remove_edges(root, lambda edge: edge.get("to-layer") == result.get("id"))


def remove_edges(root: Element, unwanted: Callable[[Element], bool]) -> None:
    edges = root.find("edges")
    assert edges is not None
    for edge in [edge for edge in edges if unwanted(edge)]:
        edges.remove(edge)


def weights_of_another_type(root: Element) -> None:
    constant = next(
        held
        for held in root.iterfind("layers/layer[@type='Const']")
        if data(held).get("shape") == "1, 1, 64"
    )
    data(constant).set("element_type", "i32")
    for port in constant.iterfind("output/port"):
        port.set("precision", "I32")


def declared_shape_wrong(root: Element) -> None:
    *_, last = layer(root, "Gelu").iterfind("output/port/dim")
    last.text = "31"


def wrong_groups(root: Element) -> None:
    convolution = layer(root, "GroupConvolution", 2)
    convolution.set("type", "Convolution")


pads_on_one_side = with_data("GroupConvolution", (2,), pads_begin="2, 2", pads_end="0, 0")
dilated = with_data("GroupConvolution", (2,), pads_begin="2, 2", pads_end="2, 2", dilations="2, 2")
softmax_over_positions = with_data("SoftMax", (1,), axis="3")
window_softmax_over_queries = with_data("SoftMax", (3,), axis="2")
epsilon_outside_the_root = with_data("MVN", (), eps_mode="OUTSIDE_SQRT")
tanh_gelu = with_data("Gelu", (), approximation_mode="TANH")


def epsilon(value: float, *indices: int) -> Callable[[Element], None]:
    """Another epsilon in some normalisations, or in all."""
    return with_data("MVN", indices, eps=str(value))


def source_of(root: Element, target: Element, port: str) -> Element:
    """The edge that leads into a port."""
    return next(
        edge
        for edge in root.iterfind("edges/edge")
        if edge.get("to-layer") == target.get("id") and edge.get("to-port") == port
    )


def residual_subtracted(root: Element) -> None:
    """In the sum behind the first MLP; sums of a bias have one input that is stored."""
    stored = {held.get("id") for held in root.iterfind("layers/layer[@type='Const']")}
    sums = [
        found
        for found in root.iterfind("layers/layer[@type='Add']")
        if all(source_of(root, found, port).get("from-layer") not in stored for port in "01")
    ]
    sums[1].set("type", "Subtract")


def values_read_the_keys(root: Element) -> None:
    keys, values = (layer(root, "GroupConvolution", index) for index in (2, 3))
    keys_source, values_source = (source_of(root, found, "0") for found in (keys, values))
    for key in ("from-layer", "from-port"):
        values_source.set(key, keys_source.get(key, ""))


def reads_what_nothing_computes(root: Element) -> None:
    source_of(root, layer(root, "Gelu"), "0").set("from-layer", "100000")


def edge_lost(root: Element) -> None:
    gelu = layer(root, "Gelu").get("id")
    remove_edges(root, lambda edge: edge.get("to-layer") == gelu)


# Through the model.


def operation(model: Any, kind: str, index: int = 0) -> Any:
    found = [held for held in model.get_ordered_ops() if held.get_type_name() == kind]
    # By the order of the file, which the numbers at the end of the converter's names keep.
    return sorted(found, key=lambda held: _number(held.get_friendly_name()))[index]


def _number(name: str) -> int:
    match = re.match(r"[a-z_]+?(?:_(\d+))?/", name)
    return int(match[1] or 0) if match else 0


def detour(behind: Any, step: Callable[[Any], Any]) -> None:
    """Let what an operation computes pass through others."""
    output = behind.output(0)
    targets = list(output.get_target_inputs())
    result = step(output)
    for target in targets:
        target.replace_source_output(result.output(0))


def reshaped(value: Any, sizes: tuple[int, ...]) -> Any:
    from openvino import opset13

    return opset13.reshape(value, np.array(sizes, np.int64), special_zero=False)


def rank_6(model: Any) -> None:
    detour(
        operation(model, "Gelu"),
        lambda value: reshaped(reshaped(value, (1, 1, 2, 2, 256, 32)), (1, 1024, 32)),
    )


def rank_5_in_slide_attention(model: Any) -> None:
    detour(
        operation(model, "GroupConvolution", 2),
        lambda value: reshaped(reshaped(value, (1, 16, 9, 16, 16)), (1, 144, 16, 16)),
    )


def through(type: str) -> Callable[[Any], None]:
    """A detour through another type."""

    def edit(model: Any) -> None:
        from openvino import opset13

        detour(
            operation(model, "Gelu"),
            lambda value: opset13.convert(opset13.convert(value, type), "f32"),
        )

    return edit


def input_of_doubles(model: Any) -> None:
    from openvino import Type, opset13

    parameter = model.get_parameters()[0]
    readers = list(parameter.output(0).get_target_inputs())
    single = opset13.convert(parameter, "f32")
    for reader in readers:
        reader.replace_source_output(single.output(0))
    parameter.set_element_type(Type.f64)
    model.validate_nodes_and_infer_types()


def batch_fixed_inside(model: Any) -> None:
    """The last reshape that starts with an open batch gets a batch of one."""
    from openvino import opset13

    for found in reversed(model.get_ordered_ops()):
        if found.get_type_name() == "Reshape":
            sizes = found.input_value(1).get_node().data.copy()
            if sizes[0] == -1:
                sizes[0] = 1
                found.input(1).replace_source_output(opset13.constant(sizes).output(0))
                return
    raise AssertionError("no reshape keeps the batch open")


def control_flow(model: Any) -> None:
    import openvino
    from openvino import opset8

    def body() -> tuple[Any, Any, Any]:
        parameter = opset8.parameter([1, 1024, 32], np.float32)
        result = opset8.result(opset8.multiply(parameter, np.float32(1)))
        return openvino.Model([result], [parameter]), parameter, result

    def choose(value: Any) -> Any:
        (then, then_in, then_out), (other, other_in, other_out) = body(), body()
        choice = opset8.if_op(opset8.constant(np.array(True)).output(0))
        choice.set_then_body(then)
        choice.set_else_body(other)
        choice.set_input(value, then_in, other_in)
        choice.set_output(then_out, other_out)
        return choice

    detour(operation(model, "Gelu"), choose)


def gather_with_a_table(model: Any) -> None:
    from openvino import opset13

    table = np.arange(1024, dtype=np.int32).reshape(32, 32)
    detour(
        operation(model, "Gelu"),
        lambda value: reshaped(opset13.gather(value, table, np.int32(1)), (1, 1024, 32)),
    )


def neighbours_gathered(model: Any) -> None:
    """Nine neighbours of every position, of which only the one in the middle is used."""
    from openvino import opset13

    table = np.clip(np.arange(1024)[:, None] + np.arange(-4, 5), 0, 1023).reshape(-1)

    def gather(value: Any) -> Any:
        gathered = opset13.gather(value, table.astype(np.int32), np.int32(1))
        grid = reshaped(gathered, (1, 1024, 9, 32))
        bounds = (np.array([bound], np.int64) for bound in (4, 5, 1, 2))
        return reshaped(opset13.slice(grid, *bounds), (1, 1024, 32))

    detour(operation(model, "Gelu"), gather)


def second_input(model: Any) -> None:
    import openvino
    from openvino import opset13

    mask = opset13.parameter(openvino.PartialShape([1, 1]), np.float32, name="mask")
    mask.output(0).get_tensor().set_names({"mask"})
    model.add_parameters([mask])


def second_output(model: Any) -> None:
    model.add_outputs([operation(model, "Softmax").output(0)])


def clipped(model: Any) -> None:
    from openvino import opset13

    detour(operation(model, "Gelu"), lambda value: opset13.clamp(value, -3, 3))


def quantised_detour(model: Any) -> None:
    from openvino import opset13

    low, high = np.float32(-6.4), np.float32(6.35)
    detour(
        operation(model, "Gelu"),
        lambda value: opset13.fake_quantize(value, low, high, low, high, 256),
    )


# In both files.


def duplicated_constant(path: Path) -> None:
    """The bias of a wide layer is stored twice; the difference of the two is added."""
    from openvino import opset13

    def add_twin(model: Any) -> None:
        add = operation(model, "Gelu", 4).input_value(0).get_node()
        bias = add.input_value(1).get_node()
        twin = opset13.constant(-bias.data, name="twin")
        detour(
            operation(model, "Gelu", 4),
            lambda value: opset13.add(value, opset13.subtract(bias, twin)),
        )

    def store_twin(root: Element) -> None:
        twin = data(next(held for held in root.iter("layer") if held.get("name") == "twin"))
        weights = bytearray(path.with_suffix(".bin").read_bytes())
        place = slice(int(twin.get("offset", "")), int(twin.get("offset", "")) + 1024)
        weights[place] = (-np.frombuffer(bytes(weights[place]), np.float32)).tobytes()
        path.with_suffix(".bin").write_bytes(weights)

    in_model(add_twin)(path)
    in_xml(store_twin)(path)
