"""The proof in the report."""

import pytest

from benchmarks.record import Proof
from benchmarks.report.notes import settings
from benchmarks.report.summary import summarise
from benchmarks.report.table import columns
from tests.benchmarks.synthetic import measurement, run


@pytest.mark.parametrize(
    ("proof", "cell", "sentence"),
    [
        (Proof(1, 0.0, None), "exact", "exact in 1 case"),
        (Proof(4, 0.47, None), "47% differ", "47% differ at worst in 4 cases"),
        (Proof(4, 0.02, None), "2.0% differ", "2.0% differ at worst in 4 cases"),
        (Proof(1, 2e-6, 112.0), "2e-6", "error of 2.0e-06 and 112 dB at worst in 1 case"),
    ],
)
def test_only_equal_outputs_are_called_exact(proof: Proof, cell: str, sentence: str) -> None:
    shown = summarise([run([measurement("a.onnx", proof=proof)])])[0].views[0]
    (column,) = (each for each in columns(shown) if each.header == "proof")
    assert column.cells[0].text == cell
    assert dict(settings(shown.rows[0]))["proof"] == sentence
