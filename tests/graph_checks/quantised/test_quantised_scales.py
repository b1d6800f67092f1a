"""SD022: implausible scales, zero points and ranges are found, in every format."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from slide_deploy.graph_checks import Graph, check_file
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.graph_checks.graph import Node
from slide_deploy.graph_checks.stored_weights import StoredWeight, stored_weights
from tests.graph_checks.quantised.quantisers import (
    QUANTISERS,
    claiming,
    holding,
    quantised,
    reported,
    violations,
)
from tests.mutants.onnx_damage import in_graph
from tests.support import copied

SCALED = [name for name, each in QUANTISERS.items() if each.claim != "palettes"]
ROUNDING = [name for name, each in QUANTISERS.items() if each.claim == "int8"]
SHIFTED = ["ort_asymmetric", "ov_shifted", "nncf_asymmetric", "coreml_shifted"]


def weight_of(graph: Graph, shifted: bool = False) -> StoredWeight:
    """A weight of 8 bits behind all of its chain, with a zero point where that is asked for."""
    found = [
        weight
        for weight in stored_weights(graph).values()
        if weight.bits == 8 and weight.scales and (weight.zeros or not shifted)
    ]
    return found[0]


def with_scale(graph: Graph, number: float) -> Graph:
    """One number of one scale exchanged."""
    scale = weight_of(graph).scales[0]
    array = scale.array()
    assert array is not None
    changed = np.array(array)
    changed.flat[changed.size // 2] = number
    return holding(graph, scale.name, changed)


@pytest.mark.parametrize("number", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", SCALED)
def test_a_scale_of_nan_infinity_or_0_is_found(name: str, number: float) -> None:
    (line,) = reported(with_scale(quantised(name), number), "SD022")
    assert line == f"Its scales are not all finite and different from 0: {number:g}."  # alone


@pytest.mark.parametrize("name", SCALED)
def test_a_negative_scale_is_found_unless_nncf_may_write_it(name: str) -> None:
    graph = with_scale(quantised(name), -0.01)
    may_be = QUANTISERS[name].claim == "int8-weights" and name not in SHIFTED
    lines = reported(graph, "SD022")
    assert lines == [] if may_be else lines[0].startswith("Its scales are not all positive: -0.01")


def test_nncf_writes_negative_scales() -> None:
    graph = quantised("nncf_symmetric")
    held = [weight.scales[0].array() for weight in stored_weights(graph).values() if weight.scales]
    assert any(np.any(each < 0) for each in held if each is not None)


@pytest.mark.parametrize("name", SCALED)
def test_a_scale_that_is_far_too_large_is_found(name: str) -> None:
    graph = quantised(name)
    weight = weight_of(graph)
    data = weight.data.array()
    assert data is not None
    numbers = weight.unscaled()  # the data less their zero points
    middle = data - numbers
    for share in (0, 1 / 32):
        few = np.round(numbers * share + middle).astype(data.dtype)
        (line,) = reported(holding(graph, weight.data.name, few), "SD022")
        assert line.endswith("its scale is far too large.")


@pytest.mark.parametrize("name", ["ov_shifted", "nncf_asymmetric"])
@pytest.mark.parametrize("number", [300.0, -5.0])
def test_a_zero_point_outside_its_type_is_found(name: str, number: float) -> None:
    """Where the format lets it be a float; the others store it in the type of the numbers."""
    graph = quantised(name)
    shift = next(
        node
        for node in graph.nodes
        if node.operator == "Subtract" and node.outputs[0] in stored_weights(graph)
    )
    wrong = replace(shift, inputs=(shift.inputs[0], "float zero"))
    nodes = tuple(wrong if node is shift else node for node in graph.nodes)
    zeros = np.full(graph.shape(shift.inputs[1]), number, np.float32)
    (line,) = reported(holding(replace(graph, nodes=nodes), "float zero", zeros), "SD022")
    assert line.startswith(f"Its zero points are not numbers of uint8: {number:g}, {number:g}")


@pytest.mark.parametrize("name", ["ort_by_channel", "coreml_linear"])
def test_too_few_scales_are_found(name: str) -> None:
    graph = quantised(name)
    scale = weight_of(graph).scales[0]
    array = scale.array()
    assert array is not None
    (line,) = reported(holding(graph, scale.name, array[:2]), "SD022")
    assert line.startswith("Its stored parts do not fit together")


def test_an_index_beyond_its_palette_is_found() -> None:
    graph = quantised("coreml_palette_8")
    weight = next(held for held in stored_weights(graph).values() if held.palette is not None)
    assert weight.palette is not None
    entries = weight.palette.array()
    assert entries is not None
    short = holding(graph, weight.palette.name, entries[:100])
    assert reported(short, "SD022")
    assert reported(graph, "SD022") == []


# Values


def rounding_node(graph: Graph) -> Node:
    """The first operator that rounds a value."""
    return next(
        node
        for node in graph.nodes
        if node.operator in ("QuantizeLinear", "FakeQuantize")
        and node.outputs[0] not in stored_weights(graph)
    )


@pytest.mark.parametrize("number", [0.0, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", [name for name in ROUNDING if "ov" not in name])
def test_values_have_positive_scales(name: str, number: float) -> None:
    graph = quantised(name)
    node = rounding_node(graph)
    wrong = holding(graph, node.inputs[1], np.array(number, np.float32))
    lines = reported(wrong, "SD022")
    assert lines
    assert set(lines) == {f"Its scale is not finite and positive: {number:g}."}


@pytest.mark.parametrize("high", [-9.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", [name for name in ROUNDING if "ov" in name])
def test_ranges_of_values_have_two_ends(name: str, high: float) -> None:
    graph = quantised(name)
    node = rounding_node(graph)
    wrong = holding(graph, node.inputs[2], np.array(high, np.float32))
    lines = reported(wrong, "SD022")
    assert lines
    assert all(line.startswith("It rounds between -") for line in lines)


@pytest.mark.parametrize("levels", [0, 1])
def test_a_range_has_levels(levels: int) -> None:
    graph = quantised("ov_by_hand")
    node = rounding_node(graph)
    wrong = replace(node, attributes={**node.attributes, "levels": levels})
    nodes = tuple(wrong if each is node else each for each in graph.nodes)
    assert f"It rounds to {levels} levels." in reported(replace(graph, nodes=nodes), "SD022")


@pytest.mark.parametrize(("place", "what"), [(1, "scale"), (2, "zero point")])
@pytest.mark.parametrize("name", ["ort_by_channel", "ort_asymmetric"])
def test_dequantisation_has_the_scale_of_its_quantisation(name: str, place: int, what: str) -> None:
    graph = quantised(name)
    node = rounding_node(graph)
    held = np.asarray(graph.constants[node.inputs[place]].array())
    other = holding(graph, "other", (held + held.dtype.type(1)).astype(held.dtype))
    wrong = replace(
        node, inputs=tuple("other" if at == place else each for at, each in enumerate(node.inputs))
    )
    nodes = tuple(wrong if each is node else each for each in graph.nodes)
    lines = reported(replace(other, nodes=nodes), "SD022")
    assert lines == [f"Its {what} is not that of {node.name}, which rounded the value."]


# Files


def test_a_file_that_onnx_runtime_loads_and_cannot_run_is_refused(tmp_path: Path) -> None:
    """Scales by channel must be a vector; NNCF 3.4 stores (outputs, 1, 1) for a convolution."""
    weight = np.arange(-96, 96).reshape(4, 3, 4, 4).astype(np.int8)
    scale = np.full((4, 1, 1), 0.1, np.float32)

    def written(scale: np.ndarray) -> Path:
        nodes = [
            helper.make_node("DequantizeLinear", ["weight", "scale"], ["wide"], axis=0),
            helper.make_node("Conv", ["image", "wide"], ["out"], strides=[4, 4]),
        ]
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 4, 4])],
            [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(scale, "scale")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        model.ir_version = 10
        helper.set_model_props(model, {PRECISION_KEY: "int8-weights"})
        path = tmp_path / f"{scale.ndim}.onnx"
        onnx.save(model, path)
        return path

    import onnxruntime

    images = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(written(scale), options)
    with pytest.raises(Exception, match="DequantizeLinear"):
        session.run(None, images)
    onnxruntime.InferenceSession(written(scale.ravel()), options).run(None, images)
    found = [each for each in check_file(written(scale)).violations if each.rule == "SD022"]
    assert [each.message for each in found] == [
        "Its stored parts do not fit together: (4, 1, 1) does not fit the axis 0 of (4, 3, 4, 4)."
    ]
    right = check_file(written(scale.ravel())).violations
    assert not [each for each in right if each.rule in ("SD021", "SD022")]


def test_a_damaged_file_is_read_and_refused(tmp_path: Path) -> None:
    path = copied(quantised("ort_by_channel").path, tmp_path)

    def spoil(model: onnx.ModelProto) -> None:
        model.metadata_props.add(key="slide_deploy.float_operators", value=json.dumps([]))
        scale = next(held for held in model.graph.initializer if held.name.endswith("_scale"))
        zeros = np.zeros_like(numpy_helper.to_array(scale))
        scale.CopyFrom(numpy_helper.from_array(zeros, scale.name))
        for entry in model.metadata_props:
            if entry.key == PRECISION_KEY:
                entry.value = "int8"

    in_graph(spoil)(path)
    report = check_file(path)
    assert "SD022" in {found.rule for found in report.errors}


def test_a_weight_that_is_uniform_keeps_its_scale() -> None:
    """Sums over features are products with ones: the largest number everywhere is a right one."""
    graph = quantised("ov_weights")
    weight = weight_of(graph)
    ones = np.full(weight.data.shape, 127, np.int8)
    assert reported(holding(graph, weight.data.name, ones), "SD022") == []


def test_floats_have_no_scales() -> None:
    graph = claiming(quantised("ort_products"), "int8")
    assert violations(graph) == []
