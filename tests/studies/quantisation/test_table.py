"""Verdicts on families of operators, from runs with known latencies."""

import re
from pathlib import Path

import pytest

from benchmarks.record import Candidate, Measurement, Run
from slide_deploy.errors import InputError
from slide_deploy.formats import format_named
from studies.quantisation.record import DEFAULT, FLOAT32, QuantisedVariant, WrittenFamily
from studies.quantisation.table import rows, table
from tests.benchmarks.synthetic import rounds
from tests.benchmarks.synthetic import run as synthetic_run

PAGE = Path(__file__).parents[3] / "docs" / "quantised-operators.md"
TARGET = "onnxruntime:cpu"


def variant(
    name: str, snr_db: float | None = 20.0, fault: str = "", size: int = 25
) -> QuantisedVariant:
    families = () if name == FLOAT32 else ("projections",)
    known = () if snr_db is None else (snr_db,)
    return QuantisedVariant(name, f"{name}.onnx", families, len(families), size, known, fault)


def raced(**milliseconds: float) -> Run:
    return synthetic_run(
        tuple(
            Measurement(Candidate(name, "f", TARGET), rounds=rounds(each, seed=place))
            for place, (name, each) in enumerate(milliseconds.items())
        )
    )


def judged(other: QuantisedVariant, run: Run) -> tuple:
    both = (variant(FLOAT32, 120.0, size=100), variant(DEFAULT))
    written = WrittenFamily("net", "onnx", TARGET, False, "noise", (*both, other))
    return written, rows(written, run)


@pytest.mark.parametrize(
    ("milliseconds", "snr_db", "verdict"),
    [
        (8.0, 20.0, "better"),
        (8.0, 19.2, "better"),
        (8.0, 15.0, "faster, 5.0 dB worse"),
        (10.0, 20.0, "no gain"),
        (9.9, 20.0, "no gain"),
        (12.0, 20.0, "slower"),
    ],
)
def test_a_family_is_better_if_it_is_faster_and_as_accurate(milliseconds, snr_db, verdict) -> None:
    run = raced(float32=20.0, default=10.0, other=milliseconds)
    written, found = judged(variant("other", snr_db), run)
    assert found[2].verdict == verdict
    assert found[2].is_better == (verdict == "better")
    assert [each.verdict for each in found[:2]] == ["", ""]
    assert found[1].to_float32 is not None
    assert found[1].to_float32.value == pytest.approx(0.5, abs=0.02)
    grid = table(written, found)
    assert {len(row) for row in grid.rows} == {len(grid.headers)}
    assert grid.rows[1][9] == "0.25"  # of the size in float32


def test_a_wrong_file_is_reported_however_fast_it_is() -> None:
    run = raced(float32=20.0, default=10.0, other=1.0)
    _, found = judged(variant("other", -3.0, "wrong: int8 is to have 6 dB at least"), run)
    assert found[2].verdict.startswith("wrong") and not found[2].is_better
    assert found[2].to_float32 is not None  # what it would have gained is shown


def test_a_file_that_does_not_load_has_a_row_with_the_reason() -> None:
    other = variant("other", None, "other.onnx does not load", size=0)
    written, found = judged(other, raced(float32=20.0, default=10.0))
    assert found[2].verdict == "other.onnx does not load" and not found[2].is_better
    assert table(written, found).rows[2][3] == "–"


def test_a_file_that_failed_in_the_race_has_a_reason() -> None:
    run = raced(float32=20.0, default=10.0)
    failed = Measurement(Candidate("other", "f", TARGET), error="its process ended")
    _, found = judged(variant("other"), synthetic_run((*run.measurements, failed)))
    assert found[2].verdict == "its process ended" and not found[2].is_better


def test_a_race_without_the_default_is_refused() -> None:
    with pytest.raises(InputError, match="default was not raced"):
        judged(variant("other"), raced(float32=20.0, other=10.0))


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_the_record_has_the_families_of_the_page(format: str) -> None:
    record = format_named(format)
    _, _, part = PAGE.read_text().partition(f" on {record.target}**")
    shown, _, _ = part.partition("\n**")
    stated = re.search(r"^The default is (.*?)\.", shown, re.MULTILINE)
    assert stated is not None
    assert tuple(stated[1].split(", ")) == record.quantised
    assert "| better |" not in shown
