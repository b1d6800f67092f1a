"""The table of make bench-precisions."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.generated_page import GeneratedPage
from benchmarks.precisions import __main__ as command
from benchmarks.precisions import files
from benchmarks.precisions.files import WrittenPrecision, kinds
from benchmarks.precisions.table import losses, price_table
from slide_deploy.evaluation.figures import AccuracyRow
from slide_deploy.evaluation.statistics import Pairs, difference, share
from slide_deploy.formats import format_named, known_formats
from slide_deploy.precisions import FLOAT16, known_precisions
from tests.evaluation.pictures import many
from tests.support import GOLDEN

CHECKPOINT = GOLDEN.parents[1] / "examples" / "digits.pth"
ONNX = format_named("onnx")
INT8 = replace(FLOAT16, name="int8 of this test", weight_bits=frozenset({8}))


def row(both: int, alone: int, trained_alone: int, neither: int, broken: int = 0) -> AccuracyRow:
    pairs = Pairs(both, alone, trained_alone, neither)
    top1 = share(both + alone, pairs.of)
    return AccuracyRow(
        *("a.onnx", "", "onnxruntime 1"),
        *(top1, None, share(both + neither, pairs.of), difference(pairs), pairs, broken),
    )


TRAINED = replace(row(98, 0, 0, 2), runtime="torch 2", agreement=None, change=None, pairs=None)


def written(precision: str = "float32", size: int = 4_000_000) -> WrittenPrecision:
    return WrittenPrecision(ONNX, precision, Path("a.onnx"), size)


def test_every_format_that_runs_here_is_written_in_every_precision_of_its_record() -> None:
    found = {(kind.format.name, kind.precision) for kind in kinds()}
    assert found >= {(name, "float32") for name in ("onnx", "openvino", "coreml")}
    for format in known_formats():
        written = {name for each, name in found if each == format.name}
        assert written in (set(), set(format.precisions))
    assert [str(kind) for kind in kinds(["openvino"], ["float16"])] == ["openvino in float16"]


def test_a_new_precision_is_included_and_a_format_without_runtime_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wider = replace(ONNX, precisions=("float32", "float16"))
    foreign = replace(ONNX, name="foreign", targets=("coreml:all",))
    monkeypatch.setattr(files, "known_formats", lambda: (wider, foreign))
    assert [str(kind) for kind in kinds()] == ["onnx in float32", "onnx in float16"]


def test_the_table_compares_files_with_the_trained_network() -> None:
    half = written("float16", 2_100_000)
    grid = price_table(
        Path("net.pth"), [TRAINED, row(98, 0, 0, 2), row(96, 1, 2, 1)], [written(), half]
    )
    assert grid.title == "net.pth on 100 held-out images"
    trained, whole, last = grid.rows
    assert trained[0] == "as trained" and trained[5].startswith("98.00 (93.0–99.4)")
    assert whole[3:5] == ("4.00", "1.00") and whole[7].startswith("+0.00 (")
    assert last[:5] == ("onnx", "float16", "onnxruntime 1", "2.10", "0.53")
    assert last[5].startswith("97.00 (") and last[6].startswith("97.00 (")
    assert last[7].startswith("-1.00 (") and last[8] == "1"


@pytest.mark.parametrize(
    ("precision", "figures", "sentence"),
    [
        ("float16", row(990, 0, 5, 5), ""),  # five of five: p is 0.06
        (
            "float16",
            row(990, 0, 6, 4),
            "loses 0.60 points of top-1, which is significant",
        ),
        ("float16", row(990, 6, 0, 4), ""),
        (INT8.name, row(990, 0, 5, 5), ""),
        (INT8.name, row(990, 0, 6, 4), "loses 0.60 points of top-1, more than 0.5."),
        ("float32", row(990, 0, 0, 10, broken=1), "outputs that are not finite for 1 image"),
    ],
)
def test_a_file_may_lose_accuracy_within_its_limit(
    monkeypatch: pytest.MonkeyPatch, precision: str, figures: AccuracyRow, sentence: str
) -> None:
    monkeypatch.setattr("slide_deploy.precisions.PRECISIONS", (*known_precisions(), INT8))
    found = list(losses([TRAINED, figures], [written(precision)]))
    assert len(found) == bool(sentence) and sentence in "".join(found)


@pytest.mark.full
def test_the_page_has_a_row_for_each_file(tmp_path: Path, capsys) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{GeneratedPage(page, command.COMMAND).begin}\n"
                    "<!-- generated until here -->\nafter\n")  # fmt: skip
    data = many(tmp_path / "data", 20, 10)
    code = command.main(
        [
            *(str(CHECKPOINT), "--data", str(data), "--calibration", str(data), "--out", str(page)),
            *("--files", str(tmp_path / "files"), "--format", "onnx", "--precision", "float32"),
        ]
    )
    assert code == 0, capsys.readouterr().err
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "| as trained | float32 | torch" in text
    assert "| onnx | float32 | onnxruntime" in text and "| 100.00 (" in text
    assert (tmp_path / "files" / "float32" / "digits.onnx").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--precision", "nobody"], "No runtime here runs such a format"),
        (["--out", "missing.md"], "missing.md cannot be read"),
        ([], "does not exist"),
    ],
)
def test_unusable_input_is_refused(
    tmp_path: Path, capsys, change: list[str], sentence: str
) -> None:
    shutil.copy(CHECKPOINT, tmp_path / "net.pth")
    arguments = ["--data", "data", "--calibration", "data", "--files", str(tmp_path)]
    checkpoint = tmp_path / ("net.pth" if change else "nobody.pth")
    arguments = [str(checkpoint), *arguments, "--format", "onnx", *change]
    assert command.main(arguments) == 2
    assert sentence in capsys.readouterr().err
