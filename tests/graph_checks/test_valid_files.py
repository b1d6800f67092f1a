"""Valid files pass without a remark, and cost the same whatever the format."""

import math
import subprocess
import sys

import pytest

from slide_deploy.graph_checks import check_file, inspect, read_graph
from slide_deploy.program.traced import Traced
from tests.graph_checks.small_models import PASSES_OF, Files, declared_request, nano

FORMATS = ("onnx", "openvino", "coreml")


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_with_a_batch_of_one_keeps_every_rule(exported: Files, format: str) -> None:
    report = check_file(exported[format])
    assert report.violations == ()
    assert report.passed


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_with_an_open_batch_keeps_every_rule(exported_dynamic: Files, format: str) -> None:
    assert check_file(exported_dynamic[format]).violations == ()


def test_macs_of_the_nano_model_are_those_of_its_formula(exported: Files) -> None:
    # C channels, N positions: qkv and proj 4 C^2 N, MLP 8 C^2 N; slide attention 2 * 81 C N for
    # its two depthwise convolutions; window attention 2 N^2 C for its two products (one window).
    slide = [(8, 16 * 16), (16, 8 * 8)]
    window = [(32, 4 * 4), (32, 4 * 4), (64, 2 * 2)]
    expected = 3 * 4 * 4 * 8 * 16 * 16  # patches
    expected += sum(12 * c * c * n + 162 * c * n for c, n in slide)
    expected += sum(12 * c * c * n + 2 * n * n * c for c, n in window)
    expected += sum(4 * c * 2 * c * n // 4 for c, n in (*slide, window[0]))  # merging
    expected += 64 * 4  # head
    assert inspect(read_graph(exported["onnx"])).macs == expected


@pytest.mark.parametrize("files", ["exported", "exported_dynamic"])
def test_all_formats_of_a_model_cost_the_same(files: str, request: pytest.FixtureRequest) -> None:
    found = {
        format: inspect(read_graph(path)) for format, path in request.getfixturevalue(files).items()
    }
    assert all(inspection.uncounted == () for inspection in found.values())
    assert len({inspection.macs for inspection in found.values()}) == 1
    assert {inspection.largest.shape for inspection in found.values() if inspection.largest} == {
        (1, 72, 16, 16)  # the keys of the first attention, K = 9 a channel
    }
    assert {inspection.largest.size for inspection in found.values() if inspection.largest} == {
        4 * 72 * 16 * 16
    }
    assert found["coreml"].parameters == found["openvino"].parameters
    # ONNX's normalisation always has a weight: ones, stored once for each width.
    assert found["onnx"].parameters == found["openvino"].parameters + 8 + 16 + 32 + 64 + 128


def test_parameters_are_those_of_the_program(exported: Files) -> None:
    program = declared_request(nano(), (3, 64, 64), format=PASSES_OF).program
    weights = map(Traced(program).weight, program.graph.nodes)
    expected = sum(math.prod(weight.shape) for weight in weights if weight is not None)
    assert inspect(read_graph(exported["openvino"])).parameters == expected


def test_operators_are_counted_and_depth_is_the_longest_path(exported: Files) -> None:
    graph = read_graph(exported["onnx"])
    inspection = inspect(graph)
    # Patches; queries, keys, values, both sides and the last projection.
    assert dict(inspection.operators)["Conv"] == 1 + 2 * (3 + 2 + 1)
    assert sum(count for _, count in inspection.operators) == len(graph.nodes)
    assert 100 < inspection.depth < len(graph.nodes)


def test_checking_imports_no_torch_and_no_openvino(exported: Files) -> None:
    program = (
        "import sys; from slide_deploy.graph_checks import check_file;"
        "print([check_file(path).passed for path in sys.argv[1:]],"
        "[name for name in ('torch', 'openvino', 'coremltools') if name in sys.modules])"
    )
    paths = map(str, exported.values())
    answer = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[True, True, True] []"
