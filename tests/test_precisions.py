"""What is known of a precision stands in its record, and a record is all that a new one takes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slide_deploy import formats, precisions
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.graph_checks.rules.precision import RULE
from slide_deploy.precisions import Limit, Precision, precision_named
from tests.graph_checks.quantised.quantisers import quietly, static
from tests.graph_checks.small_models import Files, exported_smallest
from tests.support import exported, exported_path, golden_swin, verify_file
from tests.test_architecture import ROOT

INT4 = Precision(
    name="int4",
    meaning="weights in int4",
    limit=Limit(relative=0.2, snr_db=20.0),
    layer_db=15.0,
    weight_bits=frozenset({4}),
    spare_bits=frozenset({32}),
    value_bits=8,
    measured_as={"openvino:npu": "float16"},
)
# Of the smallest file: patches, six of a slide attention, two of a window attention, two of each
# MLP, patch merging and head.
WEIGHTS = 1 + 6 + 2 + 2 * 2 + 1 + 1
NANO = golden_swin("slide_swin_nano")


@pytest.fixture
def _one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precisions, "PRECISIONS", (*precisions.PRECISIONS, INT4))
    able = replace(formats.ONNX, precisions=(*formats.ONNX.precisions, "int4"))
    monkeypatch.setattr(formats, "FORMATS", (able, *formats.FORMATS[1:]))


def test_an_unknown_one_is_refused_in_a_sentence() -> None:
    said = "float8 is not a precision: choose one of float32, float16, bfloat16, int8, "
    with pytest.raises(InputError, match=said):
        precision_named("float8")
    path = exported_path(exported(NANO.load()), "onnx")
    with pytest.raises(InputError, match=said):
        verify_file(path, NANO.load(), "float8")


@pytest.mark.usefixtures("_one_line")
def test_verification_and_tuning_take_its_record() -> None:
    path = exported_path(exported(NANO.load()), "onnx")
    assert verify_file(path, NANO.load(), "int4").limit == INT4.limit
    assert precision_named("int4").measured_on("openvino:npu") == "float16"
    assert precision_named("int4").measured_on("openvino:cpu") == "int4"


@pytest.fixture
def smallest() -> Files:
    return exported_smallest()


def claims(path: Path, precision: str) -> list[str]:
    """What the rule says of a file that claims a precision."""
    graph = read_graph(path)
    graph.metadata[PRECISION_KEY] = precision
    return [found.message for found in RULE.check(graph, None)]


@pytest.mark.usefixtures("_one_line")
def test_its_files_must_hold_what_it_says(smallest: Files, tmp_path: Path) -> None:
    quantised = tmp_path / "quantised.onnx"
    with quietly():
        static("QInt4", "QUInt8", op_types_to_quantize=["Conv"])(smallest["onnx"], quantised)
    assert claims(quantised, "int4") == []
    assert claims(quantised, "float32") != []
    assert claims(quantised, "int8")[0].endswith("weights has 8 bits.")
    assert claims(smallest["onnx"], "int4") == [
        f"The file claims int4; none of its {WEIGHTS} weights has 4 bits.",
        "The file claims int4; none of its values is rounded to 8 bits.",
    ]
    assert claims(smallest["onnx"], "float32") == []


_CODE = """
from slide_deploy import precisions
limit = precisions.Limit(relative=0.2, snr_db=20.0)
int4 = precisions.Precision("int4", "weights in int4", limit, 15.0, frozenset({4}))
precisions.PRECISIONS = (*precisions.PRECISIONS, int4)
from slide_deploy.cli import main
from slide_deploy.verification.parity import LIMITS
assert LIMITS["int4"] == limit
main()
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("INT4", "onnx is not written in int4: choose float32 or float16 or int8 or"),
        ("int3", "'int3' is not one of 'float32', 'float16', 'bfloat16', 'int8',"),
    ],
)
def test_the_command_line_takes_it(name: str, said: str) -> None:
    arguments = ["export", str(NANO.path), "--to", "onnx", "--precision", name]
    command = [sys.executable, "-c", _CODE, *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 2
    assert said in result.stderr
