"""SD002 on what an ONNX file declares inside, and on operands that do not fit together."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto

from slide_deploy.graph_checks import check_file
from tests.graph_checks.small_models import Files
from tests.mutants.editing import EDITORS, Element, layer, node, operation


def found(path: Path) -> list[str]:
    return [held.message for held in check_file(path).violations if held.rule == "SD002"]


def declared(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The declarations of what operators compute."""
    computed = {name for node in model.graph.node for name in node.output}
    return [value for value in model.graph.value_info if value.name in computed]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("files", ["exported", "exported_dynamic"])
def test_a_wrong_size_is_found_wherever_it_is_declared(
    files: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(seed)

    def enlarge(model: onnx.ModelProto) -> None:
        sizes = rng.choice(declared(model)).type.tensor_type.shape.dim
        fixed = [size for size in sizes if size.dim_value]
        rng.choice(fixed).dim_value += rng.randrange(1, 50)

    path = request.getfixturevalue(files)["onnx"]
    (message,) = found(EDITORS["onnx"](path, tmp_path, enlarge))
    assert "and its operator computes float32" in message


def declares_another_rank(value: onnx.ValueInfoProto) -> None:
    value.type.tensor_type.shape.dim.add(dim_value=1)


def declares_integers(value: onnx.ValueInfoProto) -> None:
    value.type.tensor_type.elem_type = TensorProto.INT64


@pytest.mark.parametrize("edit", [declares_another_rank, declares_integers])
def test_a_wrong_rank_or_type_is_found(
    exported: Files, tmp_path: Path, edit: Callable[[onnx.ValueInfoProto], None]
) -> None:
    def change(model: onnx.ModelProto) -> None:
        edit(declared(model)[20])

    (message,) = found(EDITORS["onnx"](exported["onnx"], tmp_path, change))
    assert message.startswith("Is declared as ")


def test_an_output_of_another_size_is_found(exported: Files, tmp_path: Path) -> None:
    def one_class_less(model: onnx.ModelProto) -> None:
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value -= 1

    (message,) = found(EDITORS["onnx"](exported["onnx"], tmp_path, one_class_less))
    assert message == "Is declared as float32 (1, 3), and its operator computes float32 (1, 4)."


def test_a_declaration_may_be_missing_or_leave_sizes_open(exported: Files, tmp_path: Path) -> None:
    def open_sizes(model: onnx.ModelProto) -> None:
        for value in declared(model)[::2]:
            for size in value.type.tensor_type.shape.dim:
                size.dim_param = "any"
        for value in declared(model)[1::2]:
            value.type.tensor_type.ClearField("shape")

    assert found(EDITORS["onnx"](exported["onnx"], tmp_path, open_sizes)) == []


def other_channels(format: str, channels: int) -> Callable[[Any], None]:
    """An edit: the input has another number of channels, wherever it is said."""

    def in_onnx(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = channels

    def in_ir(root: Element) -> None:
        parameter = layer(root, "Parameter")
        size, data = parameter.find("output/port/dim[2]"), parameter.find("data")
        assert size is not None and data is not None
        size.text = str(channels)
        data.set("shape", f"1,{channels},64,64")

    def in_mlpackage(model: Any) -> None:
        model.description.input[0].type.multiArrayType.shape[1] = channels
        held = model.mlProgram.functions["main"].inputs[0].type.tensorType
        held.dimensions[1].constant.size = channels

    return {"onnx": in_onnx, "openvino": in_ir, "coreml": in_mlpackage}[format]


@pytest.mark.parametrize("format", ["onnx", "openvino", "coreml"])
@pytest.mark.parametrize("channels", [1, 4, 8])
def test_an_image_of_other_channels_does_not_fit_the_first_convolution(
    exported: Files, tmp_path: Path, format: str, channels: int
) -> None:
    edit = other_channels(format, channels)
    messages = found(EDITORS[format](exported[format], tmp_path, edit))
    assert f"Requires 3 channels and reads {channels}." in messages


def test_matrices_that_do_not_fit_are_found(exported: Files, tmp_path: Path) -> None:
    def exchange(model: Any) -> None:
        wide, narrow = (operation(model, "linear", index) for index in (0, 1))
        for parameter in ("weight", "bias"):
            first, second = (held.inputs[parameter].arguments[0] for held in (wide, narrow))
            first.name, second.name = second.name, first.name

    messages = found(EDITORS["coreml"](exported["coreml"], tmp_path, exchange))
    assert any(message.startswith("Multiplies ") for message in messages)


def test_a_matmul_of_another_width_is_found_in_onnx(exported: Files, tmp_path: Path) -> None:
    def exchange(model: onnx.ModelProto) -> None:
        products = [node(model, "MatMul", index) for index in (0, 1)]
        names = [found.input[1] for found in products]
        products[0].input[1], products[1].input[1] = names[1], names[0]

    messages = found(EDITORS["onnx"](exported["onnx"], tmp_path, exchange))
    assert any(message.startswith("Multiplies ") for message in messages)
