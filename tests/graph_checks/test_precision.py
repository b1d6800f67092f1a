"""SD021: the precision that a file claims against the types in it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from slide_deploy.graph_checks import check_file, check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY, PRECISION_KEY
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.weight_widths import weight_widths
from tests import support
from tests.graph_checks.small_models import Files
from tests.mutants.editing import EDITORS, declare, node
from tests.support import Golden

FORMATS = ("onnx", "openvino", "coreml")


def messages(graph: Graph) -> list[str]:
    found = check_graph(graph, standard_ops())
    return [violation.message for violation in found if violation.rule == "SD021"]


def found(path: Path) -> list[str]:
    return messages(read_graph(path))


@pytest.mark.parametrize(
    ("format", "claim"), [*((format, "float16") for format in FORMATS), ("coreml", "mixed")]
)
def test_a_claim_of_half_precision_needs_half_precision(
    exported: Files, tmp_path: Path, format: str, claim: str
) -> None:
    edit = declare(format, PRECISION_KEY, claim)
    (message,) = found(EDITORS[format](exported[format], tmp_path, edit))
    assert message.startswith(f"The file claims {claim}; 0 of its")


@pytest.mark.parametrize(
    ("format", "claim"), [("onnx", "bfloat16"), ("onnx", "mixed"), ("coreml", "bfloat16")]
)
def test_a_file_claims_only_precisions_of_its_format(
    exported: Files, format: str, claim: str
) -> None:
    graph = read_graph(exported[format])
    message, *_ = messages(replace(graph, metadata={PRECISION_KEY: claim}))
    assert message.startswith(f"The file claims {claim}, and {format} is written in float32, ")


def test_listing_every_operator_as_float_fails_a_claim_of_float16(exported: Files) -> None:
    graph = read_graph(exported["onnx"])
    every = json.dumps([width.node.name for width in weight_widths(graph)])
    claims = {PRECISION_KEY: "float16", FLOAT_OPERATORS_KEY: every}
    (message,) = messages(replace(graph, metadata=claims))
    assert message.startswith("The file claims float16; all of its ")


@pytest.mark.parametrize(
    ("format", "precision", "open_batch"),
    [
        ("openvino", "float16", False),
        ("coreml", "mixed", False),
        pytest.param("coreml", "float16", False, marks=pytest.mark.slow),
        pytest.param("openvino", "float16", True, marks=pytest.mark.slow),
        pytest.param("coreml", "float16", True, marks=pytest.mark.full),
        pytest.param("coreml", "mixed", True, marks=pytest.mark.full),
    ],
)
def test_a_float16_file_passes_only_with_its_own_claim(
    nano: Golden, format: str, precision: str, open_batch: bool
) -> None:
    asked = {"formats": (format,), "precision": precision, "dynamic_batch": open_batch}
    path = support.exported(nano.load(), **asked).files[0].paths[0]
    assert check_file(path).violations == ()
    graph = read_graph(path)
    for claim in {"float32", "float16", "mixed"} - {precision}:
        assert messages(replace(graph, metadata={PRECISION_KEY: claim})), claim


def test_an_unknown_claim_is_found_and_a_missing_one_is_allowed(exported: Files) -> None:
    graph = read_graph(exported["onnx"])
    (message,) = messages(replace(graph, metadata={PRECISION_KEY: "float61"}))
    known = "float32, float16, bfloat16, int8, int8-weights, palettes, mixed"
    assert message == f"The file claims float61; known are {known}."
    assert messages(replace(graph, metadata={})) == []


def test_a_detour_through_float16_is_found(exported: Files, tmp_path: Path) -> None:
    def cast(model: onnx.ModelProto) -> None:
        gelu = node(model, "Gelu", 2)
        name = gelu.output[0]
        gelu.output[0] = "wide"
        at = list(model.graph.node).index(gelu) + 1
        there = helper.make_node("Cast", ["wide"], ["narrow"], to=TensorProto.FLOAT16)
        back = helper.make_node("Cast", ["narrow"], [name], to=TensorProto.FLOAT)
        model.graph.node.insert(at, there)
        model.graph.node.insert(at + 1, back)

    (message,) = found(EDITORS["onnx"](exported["onnx"], tmp_path, cast))
    assert message == "Cast computes float16, and the file claims float32."


@pytest.mark.parametrize("index", [0, 3])
def test_one_weight_of_float16_in_a_file_of_float32_is_found(
    exported: Files, tmp_path: Path, index: int
) -> None:
    name = ""

    def narrow(model: onnx.ModelProto) -> None:
        nonlocal name
        held = model.graph.initializer[index]
        name = held.name
        half = numpy_helper.to_array(held).astype(np.float16)
        held.CopyFrom(numpy_helper.from_array(half, name))

    path = EDITORS["onnx"](exported["onnx"], tmp_path, narrow)
    constants = [
        held for held in check_file(path).violations if held.rule == "SD021" and held.node == name
    ]
    assert [held.message for held in constants] == [
        "This constant is float16, and the file claims float32."
    ]


def test_a_file_without_weights_may_claim_what_its_format_has(exported: Files) -> None:
    graph = replace(read_graph(exported["onnx"]), nodes=(), constants={})
    assert messages(replace(graph, metadata={PRECISION_KEY: "float16"})) == []
