"""SD010 and SD009: a file has the inputs and outputs that it declares, of any number and kind."""

from dataclasses import replace
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from slide_deploy.graph_checks import Policy, check_graph, load_policy, read_graph, standard_ops
from slide_deploy.graph_checks.graph import Graph, Value
from slide_deploy.graph_checks.interface import (
    INTERFACE_KEY,
    InterfacePort,
    interface_text,
    read_interface,
)
from slide_deploy.graph_checks.readers.onnx_dialect import DIALECT as ONNX
from slide_deploy.graph_checks.readers.openvino_dialect import DIALECT as OPENVINO

INPUTS = (
    InterfacePort("picture", "float32", ("batch", 3, "height", "width")),
    InterfacePort("ids", "int64", ("batch", 7)),
    InterfacePort("gain", "float32", ()),
)
OUTPUTS = (
    InterfacePort("boxes", "float32", ("batch", 3, "2*height", "width")),
    InterfacePort("mask", "bool", ("batch", 7)),
)


def graph_of(folder: Path) -> Graph:
    """A file with three inputs of other ranks and types, open sizes, and two outputs."""
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}
    ports = {
        port.name: helper.make_tensor_value_info(port.name, kinds[port.type], port.shape)
        for port in (*INPUTS, *OUTPUTS)
    }
    nodes = [
        helper.make_node("Mul", ["picture", "gain"], ["louder"]),
        helper.make_node("Concat", ["louder", "louder"], ["boxes"], axis=2),
        helper.make_node("Cast", ["ids"], ["mask"], to=TensorProto.BOOL),
    ]
    inputs, outputs = ([ports[port.name] for port in side] for side in (INPUTS, OUTPUTS))
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    helper.set_model_props(model, {INTERFACE_KEY: interface_text(INPUTS, OUTPUTS)})
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return read_graph(path)


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return graph_of(tmp_path)


def reported(graph: Graph, policy: Policy | None = None) -> list[str]:
    return [
        f"{each.rule} {each.node}"
        for each in check_graph(graph, policy or standard_ops())
        if each.rule in ("SD009", "SD010")
    ]


def having(graph: Graph, **changes: object) -> Graph:
    """The graph whose picture is another value."""
    first, *others = graph.inputs
    return replace(graph, inputs=(replace(first, **changes), *others))  # type: ignore[arg-type]


def test_any_number_of_inputs_of_any_rank_and_type(graph: Graph) -> None:
    declared = read_interface(graph.metadata)
    assert declared is not None
    assert (declared.inputs, declared.outputs) == (INPUTS, OUTPUTS)
    assert reported(graph) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "int32"},
        {"dtype": "float64"},
        {"shape": ("batch", 3, "height")},
        {"shape": ("batch", 4, "height", "width")},
        {"shape": ("batch", 3, 32, "width")},
        {"shape": ("batch", 3, "width", "height")},
        {"shape": ("batch", 3, None, "width")},
        {"shape": None},
    ],
)
def test_differences_from_the_declaration_are_found(
    graph: Graph, changes: dict[str, object]
) -> None:
    assert reported(having(graph, **changes)) == ["SD010 picture"]


def test_a_renamed_a_new_and_a_lost_input_are_found(graph: Graph) -> None:
    renamed = having(graph, name="image")
    assert set(reported(renamed)) == {"SD010 image", "SD010 picture"}
    new = replace(graph, inputs=(*graph.inputs, Value("seed", "int64", (1,))))
    assert reported(new) == ["SD010 seed"]
    assert reported(replace(graph, outputs=graph.outputs[:1])) == ["SD010 mask"]


def test_a_type_of_half_the_width_is_allowed(graph: Graph) -> None:
    """Core ML has no int64, and half precision halves floats."""
    assert reported(having(graph, dtype="float16")) == []
    narrow = replace(graph.inputs[1], dtype="int32")
    assert reported(replace(graph, inputs=(graph.inputs[0], narrow, graph.inputs[2]))) == []


def test_a_format_without_names_leaves_open_sizes_open(graph: Graph) -> None:
    shape = (None, 3, None, None)
    unnamed = replace(having(graph, shape=shape), dialect=OPENVINO, nodes=())
    assert reported(unnamed) == []
    assert "SD010 picture" in reported(replace(unnamed, dialect=ONNX))


def test_a_format_without_names_may_lose_closed_sizes_of_outputs_beside_open_ones(
    graph: Graph,
) -> None:
    boxes, mask = graph.outputs
    lost = replace(boxes, shape=(None, None, None, None))
    unnamed = replace(graph, dialect=OPENVINO, nodes=(), outputs=(lost, mask))
    assert reported(unnamed) == []
    assert "SD010 boxes" in reported(replace(unnamed, dialect=ONNX))
    # Of an input nothing is lost, and no other number is right.
    assert reported(having(unnamed, shape=(None, None, None, None))) == ["SD010 picture"]
    wrong = replace(boxes, shape=(None, 4, None, None))
    assert reported(replace(unnamed, outputs=(wrong, mask))) == ["SD010 boxes"]
    # Where only the batch is open, every other size is known.
    closed = [replace(INPUTS[0], shape=("batch", 3, 32, 32)), *INPUTS[1:]]
    text = interface_text(closed, [replace(OUTPUTS[0], shape=("batch", 3, 64, 32)), OUTPUTS[1]])
    batch_only = replace(unnamed, metadata={INTERFACE_KEY: text})
    assert "SD010 boxes" in reported(batch_only)


def test_undeclared_open_sizes_are_found(graph: Graph) -> None:
    silent = replace(graph, metadata={})
    assert set(reported(silent)) == {"SD009 picture", "SD009 boxes", "SD009 louder"}
    batch_only = [replace(INPUTS[0], shape=("batch", 3, 32, 32)), *INPUTS[1:]]
    text = interface_text(batch_only, [replace(OUTPUTS[0], shape=("batch", 3, 64, 32)), OUTPUTS[1]])
    found = reported(replace(graph, metadata={INTERFACE_KEY: text}))
    assert {"SD009 louder", "SD010 picture", "SD010 boxes"} <= set(found)


def test_a_policy_of_static_shapes_refuses_declared_ones_too(graph: Graph) -> None:
    base = standard_ops()
    static = replace(base, dimensions=replace(base.dimensions, dynamic=frozenset()))
    assert "SD009 picture" in reported(graph, static)


def test_a_policy_may_require_more_than_the_declaration(graph: Graph, tmp_path: Path) -> None:
    own = tmp_path / "policy.toml"
    tables = (
        '[[inputs]]\nname = "picture"\ntypes = ["float32"]\nshape = ["batch", 3, "h", "w"]\n'
        '[[inputs]]\nname = "ids"\ntypes = ["int32"]\nshape = ["batch", 7]\n'
        '[[inputs]]\nname = "gain"\ntypes = ["float32"]\nshape = []\n'
    ).replace('"h", "w"', '"height", "width"')
    own.write_text('[dimensions]\ndynamic = ["batch", "height", "width"]\n' + tables)
    assert reported(graph, load_policy(own)) == ["SD010 ids"]
    own.write_text('[dimensions]\ndynamic = ["batch"]\n' + tables.replace('"height"', '"*"', 1))
    with pytest.raises(Exception, match=r"inputs\[0\]\.shape may hold numbers"):
        load_policy(own)
