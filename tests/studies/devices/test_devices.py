"""Checks of device results, and their page."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.generated_page import GeneratedPage
from benchmarks.record import Artifact, Proof, Run
from benchmarks.report.markdown import markdown_table
from benchmarks.result import write
from slide_deploy.errors import InputError
from studies.devices.__main__ import COMMAND, main, table
from studies.devices.results import read_all
from tests.benchmarks.synthetic import HOSTILE, measurement, run

DOCS = Path(__file__).parents[3] / "docs"


def proved(name: str = "digits.onnx", digest: str = "a" * 64) -> Run:
    return run(
        measurement(
            f"{name} on {target}",
            target,
            artifact=Artifact(name, digest, 10),
            proof=Proof(4, 2e-6, 112.0),
        )
        for target in ("onnxruntime:cpu", "openvino:cpu")
    )


def test_verified_results_are_shown(tmp_path: Path) -> None:
    write(proved(), tmp_path / "board.json")
    measured = proved().measurements
    exact = tuple(replace(each, proof=Proof(4, 0.0, None)) for each in measured)
    write(replace(proved(), measurements=exact), tmp_path / "phone.json")
    grid = table(read_all(tmp_path).values())
    assert len(grid.rows) == 2 * len(measured)
    assert {row[5:7] for row in grid.rows} == {("2e-06", "112"), ("0e+00", "exact")}
    assert all(row[1] == "digits.onnx (aaaaaaaa)" and float(row[4]) > 0 for row in grid.rows)


def first_changed(given: Run, **changes: object) -> Run:
    first, *others = given.measurements
    return replace(given, measurements=(replace(first, **changes), *others))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (replace(proved(), interrupted=True), "interrupted"),
        (first_changed(proved(), proof=None), "does not verify"),
        (
            first_changed(proved(), proof=Proof(4, 2e-4, 112.0)),
            "above the limit .*0.0001 and 80 dB",
        ),
        (first_changed(proved(), proof=Proof(4, 2e-6, 79.0)), "above the limit"),
        (first_changed(proved(), proof=Proof(4, 0.47, None)), "above the limit"),
        (first_changed(proved(), proof=Proof(4, 0.6, 9.0, "int8")), "0.5 and 8 dB"),
        (first_changed(proved(), proof=Proof(4, 0.4, 9.0, "unheard of")), "above the limit"),
        (first_changed(proved(), error="wrong: 3 dB"), r"no samples of .* \(wrong: 3 dB\)"),
        (first_changed(proved(), artifact=None), "does not identify"),
        (first_changed(proved(), artifact=Artifact("a", "short", 1)), "does not identify"),
        (first_changed(proved(), rounds=proved().measurements[0].rounds[:5]), "too few rounds"),
    ],
)
def test_results_without_valid_figures_are_refused(tmp_path: Path, given: Run, why: str) -> None:
    write(given, tmp_path / "board.json")
    with pytest.raises(InputError, match=f"board.json .*{why}"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    ("proof", "runtime", "shown"),
    [
        (Proof(4, 0.4, 9.0, "int8"), {}, ("4e-01", "9")),
        (Proof(4, 0.1, 21.0), {"precision": "bfloat16"}, ("1e-01", "21")),
        (Proof(4, 0.1, 21.0, "float32"), {"precision": "bfloat16"}, ("1e-01", "21")),
        (Proof(4, 0.04, None, "float16"), {}, ("4e-02", "4.0% differ")),
    ],
)
def test_the_looser_limit_applies(
    tmp_path: Path, proof: Proof, runtime: dict[str, str], shown: tuple[str, str]
) -> None:
    write(first_changed(proved(), proof=proof, runtime=runtime), tmp_path / "board.json")
    assert table(read_all(tmp_path).values()).rows[0][5:7] == shown


def test_files_with_equal_names_must_be_equal(tmp_path: Path) -> None:
    write(proved(), tmp_path / "board.json")
    write(proved(digest="b" * 64), tmp_path / "phone.json")
    with pytest.raises(InputError, match=r"phone.json and board.json measured different files"):
        read_all(tmp_path)


def test_large_results_and_other_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "large.json").write_bytes(b" " * (2**20 + 1))
    assert main([str(tmp_path)]) == 2
    (tmp_path / "large.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "larger than 1 MB" in said[0] and "it has no version" in said[1] and len(said) == 2


def test_the_page_has_the_results_of_its_folder() -> None:
    """Continuous integration checks this for a pull request with a result."""
    grid = table(read_all(DOCS / "devices").values())
    page = (DOCS / "devices.md").read_text()
    GeneratedPage(DOCS / "devices.md", COMMAND).around()
    assert markdown_table(grid.headers, grid.rows) in page


def test_untrusted_names_stay_in_their_cells(tmp_path: Path) -> None:
    page = tmp_path / "devices.md"
    page.write_text((DOCS / "devices.md").read_text())
    for number, name in enumerate(HOSTILE[:4]):
        write(proved(name), tmp_path / f"{number}.json")
    assert main([str(tmp_path), "--out", str(page)]) == 0
    assert "<script" not in page.read_text() and "<img" not in page.read_text()


def test_the_page_is_written(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    write(proved(), tmp_path / "devices" / "board.json")
    page = tmp_path / "devices.md"
    page.write_text((DOCS / "devices.md").read_text())
    assert main([str(tmp_path / "devices"), "--out", str(page)]) == 0
    assert "digits.onnx (aaaaaaaa)" in page.read_text()
