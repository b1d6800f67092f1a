"""SD021: a quantised file passes with the claim of its own precision, and with no other."""

import json
from pathlib import Path

import pytest

from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.weight_widths import float_operators, weight_widths
from slide_deploy.precisions import known_precisions
from tests.graph_checks.quantised.quantisers import (
    QUANTISERS,
    claiming,
    dynamic,
    quantised,
    quietly,
    reported,
    violations,
)
from tests.graph_checks.small_models import exported_smallest

EVERY = pytest.mark.parametrize("name", QUANTISERS)
CLAIMS = [precision.name for precision in known_precisions()]
QUANTISED = [precision.name for precision in known_precisions() if precision.is_quantised]


@EVERY
@pytest.mark.parametrize("claim", CLAIMS)
def test_a_quantised_file_passes_only_with_its_own_precision(name: str, claim: str) -> None:
    assert bool(reported(claiming(quantised(name), claim), "SD021")) == (
        claim != QUANTISERS[name].claim
    )


def test_a_file_that_computes_with_integers_is_one_of_int8(tmp_path: Path) -> None:
    """MatMulInteger and ConvInteger, whose values are measured when they run."""
    path = tmp_path / "dynamic.onnx"
    with quietly():
        dynamic(exported_smallest()["onnx"], path)
    graph = read_graph(path)
    assert violations(claiming(graph, "int8")) == []
    for claim in set(CLAIMS) - {"int8"}:
        assert reported(claiming(graph, claim), "SD021"), claim


@pytest.mark.parametrize("format", ["onnx", "openvino", "coreml"])
@pytest.mark.parametrize("claim", QUANTISED)
def test_a_float_file_fails_with_the_claim_of_a_quantised_one(format: str, claim: str) -> None:
    graph = claiming(read_graph(exported_smallest()[format]), claim)
    assert any("has 8 bits" in each for each in reported(graph, "SD021"))


@pytest.mark.parametrize("format", ["onnx", "openvino", "coreml"])
def test_a_file_to_be_run_in_bfloat16_is_one_of_float32(format: str) -> None:
    graph = read_graph(exported_smallest()[format])
    foreign = [
        each for each in reported(claiming(graph, "bfloat16"), "SD021") if "is written in" in each
    ]
    assert reported(claiming(graph, "bfloat16"), "SD021") == foreign
    assert bool(foreign) == (format != "openvino")
    assert reported(claiming(quantised("ov_by_hand"), "bfloat16"), "SD021")


@EVERY
def test_operators_that_are_kept_as_floats_are_those_that_the_file_names(name: str) -> None:
    graph, claim = quantised(name), QUANTISERS[name].claim
    kept = list(float_operators(graph))
    named = claiming(graph, claim, float_operators=json.dumps(kept))
    assert reported(named, "SD021") == []
    quantised_one = next(width.node.name for width in weight_widths(graph) if width.bits <= 8)
    too_many = claiming(graph, claim, float_operators=json.dumps([*kept, quantised_one]))
    assert reported(too_many, "SD021") == [
        "The file declares its weight as kept in floats, and it is not."
    ]


def test_a_projection_that_stayed_float_is_found() -> None:
    graph = quantised("ort_products")
    kept = float_operators(graph)
    assert any("conv" in name.lower() for name in kept)
    silent = claiming(graph, "int8", float_operators="[]")
    lines = reported(silent, "SD021")
    assert len(lines) == len(kept)
    assert lines[0] == (
        "Its weight is float32, and the file does not name it among the operators whose weights "
        "stay floats."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "is not JSON"), ("{}", "a list of names"), ("[1]", "a list of names")],
)
def test_an_invalid_list_of_operators_breaks_the_rule(text: str, reason: str) -> None:
    graph = claiming(quantised("ort_by_channel"), "int8", float_operators=text)
    (line,) = reported(graph, "SD021")
    assert line.startswith("The file's slide_deploy.float_operators")
    assert reason in line
