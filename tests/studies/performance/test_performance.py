"""The required ratios, from runs with known latencies."""

import dataclasses
import re
from pathlib import Path

import pytest

from benchmarks import result
from benchmarks.generated_page import GeneratedPage
from benchmarks.record import Artifact, Candidate, Measurement, Memory, Round, Run
from benchmarks.suite import read_suite
from slide_deploy.errors import InputError
from studies.performance import __main__ as command
from studies.performance.headline import headline
from studies.performance.ratios import find
from studies.performance.rows import NAMES, ROWS, RUNTIMES, SUITES, RatioKind, RatioRow
from studies.performance.tables import medians, ratios
from tests.benchmarks.synthetic import run as synthetic_run

ROOT = Path(__file__).parents[3]
BASELINES = ROOT / "benchmarks" / "baselines"
ROW = RatioRow("s", "subject", "onnxruntime:cpu", "branched", 1.5, 2.5)


def measured(label: str, milliseconds: float, activations: int = 100) -> Measurement:
    # Every round has its own speed, as ratios are paired by round.
    rounds = tuple(
        Round(float(turn), 1.0, tuple(round(milliseconds * 1e6 * speed) for _ in range(30)))
        for turn, speed in enumerate((1, 3, 1, 2, 1, 5, 1, 1))
    )
    memory = Memory(10, 1000, 1000 + activations)
    name = f"{label} on onnxruntime:cpu"
    return Measurement(Candidate(name, "f", ROW.target), memory=memory, rounds=rounds)


def a_run(*measurements: Measurement) -> Run:
    return synthetic_run(measurements)


def test_a_ratio_is_baseline_to_ours() -> None:
    found = find(ROW, a_run(measured("ours", 2.0), measured("branched", 4.0)))
    assert found.value == pytest.approx(2.0)
    assert found.interval is not None and found.interval.low == pytest.approx(2.0)
    assert found.verdict == "reached"


@pytest.mark.parametrize(("theirs", "verdict"), [(2.8, "below"), (3.2, "reached"), (5.2, "aim")])
def test_verdicts(theirs, verdict) -> None:
    run = a_run(measured("ours", 2.0), measured("branched", theirs))
    assert find(ROW, run).verdict == verdict


def test_the_limit_is_a_network_as_fast_as_its_matmuls() -> None:
    run = a_run(measured("ours", 2.0), measured("branched", 2.8), measured("matmuls", 1.9))
    network = dataclasses.replace(ROW, is_network=True)
    assert find(network, run).limit == pytest.approx(2.8 / 1.9)
    assert find(dataclasses.replace(network, ours_on_top=True), run).limit == pytest.approx(
        1.9 / 2.8
    )
    of_matmuls = dataclasses.replace(network, baseline="matmuls", ours_on_top=True)
    assert find(of_matmuls, run).limit == 1.0
    assert find(ROW, run).limit is None


@pytest.mark.parametrize(("ours", "verdict"), [(6.2, "below"), (5.2, "reached"), (4.4, "aim")])
def test_ours_on_top(ours, verdict) -> None:
    row = dataclasses.replace(ROW, least=1.35, aim=1.15, ours_on_top=True)
    run = a_run(measured("ours", ours), measured("branched", 4.0))
    assert find(row, run).value == pytest.approx(ours / 4.0)
    assert find(row, run).verdict == verdict


def test_a_ratio_without_requirement_has_no_verdict() -> None:
    found = find(
        dataclasses.replace(ROW, least=None, aim=None),
        a_run(measured("ours", 2.0), measured("branched", 4.0)),
    )
    assert found.value == pytest.approx(2.0) and found.verdict == ""
    (shown,) = ratios([found]).rows
    assert shown[3] == "2.00" and shown[6:] == ("", "", "", "")


def test_rows_of_equal_accuracy_name_both_networks() -> None:
    asked = {
        (row.subject, row.ratio, NAMES[row.target]): (row.least, row.aim)
        for row in ROWS
        if row.suite.startswith("equal_accuracy")
    }
    slide, swin = "Slide-PVT-S, 224", "Slide-Swin-S, 224"
    assert asked[slide, "PVT-L / ours", "ONNX Runtime"] == (2.0, 2.3)
    assert asked[slide, "PVT-L / ours", "OpenVINO"] == (2.0, 2.3)
    assert asked[swin, "Swin-B / ours", "ONNX Runtime"] == (1.4, 1.7)
    assert asked[swin, "Swin-B / ours", "OpenVINO"] == (1.3, 1.5)
    assert asked[slide, "unfold / ours", "OpenVINO"] == (None, None)


def test_every_slide_version_of_the_accuracy_suite_races_its_host() -> None:
    entries = read_suite(BASELINES / "accuracy.toml").candidate
    shares = {entry.name: entry.published_accuracy for entry in entries}
    lines = {entry.line for entry in entries}
    assert {line.removeprefix("Slide-") for line in lines} <= lines
    assert all(entry.name.startswith(f"{entry.line}-") for entry in entries)
    for name, share in shares.items():
        assert share is not None and 0.7 < share < 0.9
        host = shares.get(name.removeprefix("Slide-"))
        assert host is not None and host <= share
    # The pairs of equal accuracy that the other suites race.
    assert shares["PVT-L"] == shares["Slide-PVT-S"] == 0.817
    assert (shares["Swin-B"], shares["Slide-Swin-S"]) == (0.835, 0.837)


def test_memory_counts_what_running_adds() -> None:
    row = dataclasses.replace(ROW, kind=RatioKind.memory)
    found = find(row, a_run(measured("ours", 1.0, 50), measured("branched", 1.0, 200)))
    assert found.value == 4.0 and found.interval is None


def test_a_small_size_ratio_is_good() -> None:
    row = dataclasses.replace(
        ROW,
        baseline="float32",
        least=0.27,
        aim=0.25,
        ours_on_top=True,
        kind=RatioKind.size,
        ours="int8",
    )
    assert row.ratio == "size of the file, int8 / float32"
    sized = {
        name: dataclasses.replace(measured(name, 1.0), artifact=Artifact(name, "0" * 64, size))
        for name, size in (("float32", 1000), ("int8", 260))
    }
    found = find(row, a_run(*sized.values()))
    assert (found.value, found.interval, found.verdict) == (0.26, None, "reached")
    unknown = dataclasses.replace(sized["int8"], artifact=None)
    assert find(row, a_run(sized["float32"], unknown)).verdict == "not measured"


def test_our_candidate_can_have_another_name() -> None:
    row = dataclasses.replace(ROW, baseline="float32", ours="int8")
    assert row.ratio == "float32 / int8"
    assert find(row, a_run(measured("float32", 4.0), measured("int8", 2.0))).value == 2.0


def test_low_precision_is_compared_within_one_run() -> None:
    asked = {
        (row.ratio, NAMES[row.target]): (row.least, row.aim)
        for row in ROWS
        if row.suite == "int8_slide_swin_tiny"
    }
    assert asked["float32 / int8", "OpenVINO"] == (2.0, 2.6)
    assert asked["float32 / int8", "ONNX Runtime"] == (1.5, 2.0)
    assert asked["float32 / bfloat16", "OpenVINO"] == (1.55, 1.8)
    assert asked["size of the file, int8 / float32", "OpenVINO"][0] == 0.27
    entries = {
        each.name: each for each in read_suite(BASELINES / "int8_slide_swin_tiny.toml").candidate
    }
    held = {name for name, each in entries.items() if each.environment}
    assert held == {"float32, AVX2", "int8, AVX2"}
    assert entries["bfloat16"].arithmetic == entries["int8 and bfloat16"].arithmetic == "bfloat16"


def test_a_failed_candidate_is_not_measured() -> None:
    failed = dataclasses.replace(measured("branched", 1.0), rounds=(), memory=None)
    run = a_run(measured("ours", 1.0), failed)
    assert find(ROW, run).verdict == "not measured"
    assert find(dataclasses.replace(ROW, kind=RatioKind.memory), run).verdict == "not measured"
    assert medians("t", run).rows[1][1:] == ("–", "–", "–", "–")


def test_a_run_without_the_candidates_is_refused() -> None:
    with pytest.raises(InputError, match="no candidate branched on onnxruntime:cpu"):
        find(ROW, a_run(measured("ours", 1.0)))


def test_every_row_has_a_suite_with_its_candidates() -> None:
    assert {path.stem for path in BASELINES.glob("*.toml")} == set(SUITES)
    for row in ROWS:
        suite = read_suite(BASELINES / f"{row.suite}.toml")
        names = {entry.name for entry in suite.candidate}
        wanted = {row.ours, row.baseline, *(("matmuls",) if row.is_network else ())}
        assert wanted <= names and row.target in suite.targets
        assert (row.least is None) == (row.aim is None)
        if row.least is not None and row.aim is not None:
            assert row.reached(row.aim, row.least) and not row.reached(row.least, row.aim)
        assert row.target in NAMES


def test_the_page_contains_all_tables(tmp_path, capsys) -> None:
    page = tmp_path / "performance.md"
    kept = Path(__file__).parents[3] / "docs" / "performance.md"
    page.write_text(kept.read_text())
    suite = "attention_96x200x200"
    rows = [row for row in ROWS if row.suite == suite]
    both = [
        dataclasses.replace(each, candidate=dataclasses.replace(each.candidate, name=name))
        for target in RUNTIMES
        for each, name in (
            (measured("ours", 1.0), f"ours on {target}"),
            (measured("branched", 5.0, 900), f"branched on {target}"),
        )
    ]
    result.write(a_run(*both), tmp_path / f"{suite}.json")
    assert command.main([str(tmp_path), "--out", str(page)]) == 0
    text = page.read_text()
    assert len(re.findall(r"\| 5\.00 \|", text)) >= 2 and "| 9.00 |" in text
    grid = ratios([find(row, a_run(*both)) for row in rows])
    assert {len(row) for row in grid.rows} == {len(grid.headers)}
    *shown, written = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 100 and written.startswith("written: ")


def test_the_page_and_the_pictures_of_one_command(tmp_path, monkeypatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text())
    drawn = []
    monkeypatch.setattr(command, "draw", lambda run, folder: drawn.append(folder) or [])
    result.write(a_run(measured("PVT-T", 1.0)), tmp_path / "accuracy.json")
    arguments = [str(tmp_path), "--out", str(page), "--pictures", str(tmp_path / "images")]
    assert command.main(arguments) == 0
    assert drawn == [tmp_path / "images"] and "**accuracy**" in page.read_text()


def test_without_results_the_page_is_not_changed(tmp_path, capsys) -> None:
    page = tmp_path / "performance.md"
    page.write_text("as it was")
    assert command.main([str(tmp_path), "--out", str(page)]) == 2
    assert "holds no result of a suite: run make bench-export." in capsys.readouterr().err
    assert page.read_text() == "as it was"


def test_the_readme_shows_the_figures_of_the_page(tmp_path: Path) -> None:
    shown = tmp_path / "README.md"
    shown.write_text((ROOT / "README.md").read_text())
    page = (ROOT / "docs" / "performance.md").read_text()
    GeneratedPage(shown, command.COMMAND).update([headline(page)])
    assert shown.read_text() == (ROOT / "README.md").read_text()


def test_the_fastest_of_a_row_is_bold() -> None:
    table = (
        "**{}**\n\n| candidate | median, ms |\n| --- | ---: |\n"
        "| ours on onnxruntime:cpu | 9.50 |\n| unfold on onnxruntime:cpu | 10.25 |\n\n"
    )
    suites = ("slide_swin_tiny", "attention_96x56x56", "attention_96x200x200")
    grid = headline("".join(map(table.format, suites)))
    assert grid.rows[0] == ("Slide-Swin-T, 224, ONNX Runtime", "**9.50**", "", "10.25", "")
    with pytest.raises(InputError, match="no table of attention_96x56x56"):
        headline(table.format("slide_swin_tiny"))
