"""Forms that no quantiser of this environment writes, or only of networks that are larger."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.base import exporter_for
from slide_deploy.graph_checks import check_file, read_graph
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.graph_checks.mixing import mixings
from slide_deploy.graph_checks.stored_weights import stored_weights
from slide_deploy.graph_checks.weight_widths import weight_widths
from slide_deploy.lowerings import Lowering
from tests.graph_checks.quantised.quantisers import (
    claiming,
    linear,
    quantised,
    quietly,
    reported,
    static,
    violations,
)
from tests.graph_checks.small_models import Files, declared_request, on_maps_at_any_price
from tests.support import random_swin


def half_with_some_products_in_float32(source: Path, target: Path) -> None:
    """All weights in float16; products widen theirs and their values, and narrow their results."""
    model = onnx.load(source)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for tensor in held.values():
        if tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    nodes = [helper.make_node("Cast", ["image"], ["half"], to=TensorProto.FLOAT16)]
    for node in model.graph.node:
        node.input[:] = ["half" if name == "image" else name for name in node.input]
        if node.op_type != "MatMul" or node.input[1] not in held:
            nodes.append(node)
            continue
        result = node.output[0]
        for place, name in enumerate(node.input):
            wide = f"{result}_wide_{place}"
            nodes.append(helper.make_node("Cast", [name], [wide], to=TensorProto.FLOAT))
            node.input[place] = wide
        node.output[0] = f"{result}_wide"
        nodes.append(node)
        nodes.append(helper.make_node("Cast", [f"{result}_wide"], [result], to=10))
    (output,) = model.graph.output
    last = helper.make_node("Cast", ["last"], [output.name], to=TensorProto.FLOAT)
    for node in nodes:
        node.output[:] = ["last" if name == output.name else name for name in node.output]
        node.input[:] = ["last" if name == output.name else name for name in node.input]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend([*nodes, last])
    for entry in model.metadata_props:
        if entry.key == PRECISION_KEY:
            entry.value = "float16"
    onnx.save(model, target)


def test_a_half_file_with_operators_in_float32_between_casts(
    smallest: Files, tmp_path: Path
) -> None:
    path = tmp_path / "half.onnx"
    half_with_some_products_in_float32(smallest["onnx"], path)
    graph = read_graph(path)
    assert Counter(node.operator for node in graph.nodes)["Cast"] > 6
    assert {width.bits for width in weight_widths(graph)} == {16}
    assert check_file(path).violations == ()
    for claim in ("float32", "bfloat16", "mixed", "int8", "int8-weights"):
        assert reported(claiming(graph, claim), "SD021"), claim


def on_maps(folder: Path) -> Path:
    """An ONNX file of slide stages on maps, whose normalisations are convolutions."""
    with on_maps_at_any_price():
        request = declared_request(
            random_swin(), (3, 32, 32), Lowering("running-mean"), format="onnx"
        )
    exporter_for("onnx").write(request, folder / "maps.onnx")
    return folder / "maps.onnx"


@pytest.mark.slow
def test_an_epsilon_that_was_quantised_is_another_one(tmp_path: Path) -> None:
    """Means of squares are convolutions: who quantises all of these spoils the normalisation."""
    source = on_maps(tmp_path)
    assert check_file(source).violations == ()
    target = tmp_path / "quantised.onnx"
    images = [np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)]

    class Images:
        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"image": images.pop()} if images else None

    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    options = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QInt8}
    with quietly():
        quantize_static(source, target, Images(), quant_format=QuantFormat.QDQ, **options)
    graph = claiming(read_graph(target), "int8")
    assert reported(graph, "SD017") == []
    lines = reported(graph, "SD019")
    assert any("epsilon" in line for line in lines)


def test_blocks_of_core_ml(smallest: Files, tmp_path: Path) -> None:
    """The operator of iOS 18, which has a scale for each block."""
    import coremltools as ct
    import coremltools.optimize.coreml as optimize
    from coremltools.converters.mil import Builder as mb

    weight = np.random.default_rng(2).standard_normal((8, 64)).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 64))], opset_version=ct.target.iOS18)  # type: ignore[misc]
    def program(image: Any) -> Any:
        return mb.linear(x=image, weight=weight, name="out")

    model = ct.convert(
        program,
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
        compute_precision=ct.precision.FLOAT32,
    )
    with quietly():
        change = linear(mode="linear_symmetric", granularity="per_block", block_size=16)
        path = tmp_path / "blocks.mlpackage"
        change(optimize, model).save(str(path))
    graph = claiming(read_graph(path), "int8-weights")
    (width,) = weight_widths(graph)
    assert (width.bits, width.dtype, width.is_palette) == (8, "int8", False)
    found = next(iter(stored_weights(graph).values()))
    assert np.abs(found.expand() - weight).max() < 0.02
    rules = {each.rule for each in violations(graph)}
    assert not rules & {"SD002", "SD004", "SD007", "SD021", "SD022"}


def test_scales_of_grouped_weights_of_three_axes_are_no_values_of_rank_6(tmp_path: Path) -> None:
    """OpenVINO keeps groups as an axis of their own, and a scale has as many axes as a weight."""
    import openvino
    from openvino import opset13 as ops

    image = ops.parameter([1, 4, 5, 5, 5], np.float32, name="image")
    held = np.arange(-54, 54).reshape(4, 1, 1, 3, 3, 3).astype(np.int8)
    scale = ops.constant(np.full((4, 1, 1, 1, 1, 1), 0.02, np.float32))
    weight = ops.multiply(ops.convert(ops.constant(held), "f32"), scale)
    ones, zeros = [1, 1, 1], [0, 0, 0]
    out = ops.group_convolution(image, weight, ones, zeros, zeros, ones)
    path = tmp_path / "volume.xml"
    openvino.save_model(openvino.Model([out], [image], "volume"), path, compress_to_fp16=False)
    graph = claiming(read_graph(path), "int8-weights")
    ((_, kind),) = mixings(graph)
    assert (kind.groups, kind.kernel) == (4, (3, 3, 3))
    assert not {each.rule for each in violations(graph)} & {"SD002", "SD008", "SD021", "SD022"}


@pytest.mark.parametrize("name", ["ort_by_channel", "ov_by_hand", "coreml_palette_4"])
def test_vendor_operators_are_refused(name: str) -> None:
    assert reported(quantised(name), "SD005") == []


def test_quantisers_that_need_operators_of_their_own_are_refused(
    smallest: Files, tmp_path: Path
) -> None:
    """4 bits are no type of DequantizeLinear before opset 21; ONNX Runtime has an own one."""
    target = tmp_path / "vendor.onnx"
    with quietly():
        static("QInt4", "QUInt8", op_types_to_quantize=["Conv"])(smallest["onnx"], target)
    (line,) = reported(claiming(read_graph(target), "int8"), "SD005")
    assert "comes from the domain com.microsoft" in line
