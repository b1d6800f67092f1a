"""Every mutant is caught by what must catch it, and no valid file is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slide_deploy.graph_checks import check_file
from tests.mutants.__main__ import main
from tests.mutants.bases import base
from tests.mutants.catalogue import CATALOGUE, DEVICE_CATALOGUE
from tests.mutants.catalogue_devices import COREAI, EXECUTORCH
from tests.mutants.judge import Outcome, judge
from tests.mutants.mutant import FORMATS, NETWORKS, Mutant
from tests.mutants.report import cell
from tests.mutants.timing import timed_on
from tests.support import verify_file


def files() -> Iterator[object]:
    """Pair every kind of damage with every format.

    Quick tests have one kind in three of damaged files and weights, in one format in turn, and one
    network. Slow tests have one kind in four in one format, and ``make full`` has the rest. Formats
    that are exported apart are left to the slow tests, one kind in three.
    """
    for number, mutant in enumerate(CATALOGUE):
        together = [format for format in mutant.formats if format in NETWORKS]
        turn = together[number % len(together)] if together else ""
        for format in mutant.formats:
            if format not in NETWORKS:
                marks = [pytest.mark.full if number % 3 else pytest.mark.slow]
            elif format != turn:
                marks = [pytest.mark.full]
            elif mutant.exports:
                is_long = number % 2 == 0
                marks = [pytest.mark.slow if is_long else pytest.mark.full]
                marks = [] if mutant.name == "dense-convolution" else marks
            else:
                is_quick = format == turn and number % 3 == number // 3 % 3
                is_long = number % 4 == 0
                marks = [pytest.mark.slow if is_long else pytest.mark.full]
                marks = [] if is_quick and not mutant.open_batch else marks
            yield pytest.param(mutant, format, id=f"{mutant.name}-{format}", marks=marks)


@pytest.mark.parametrize(("mutant", "format"), files())
def test_damage_is_found(mutant: Mutant, format: str, tmp_path: Path) -> None:
    outcome = judge(mutant, format, tmp_path)
    assert outcome.keeps(mutant.caught_by[format]), outcome
    if format in mutant.rule:
        assert mutant.rule[format] in outcome.check.split(), outcome
    assert not outcome.leaked, "a runtime's own error must become a sentence"


def wrong_files() -> Iterator[object]:
    """Every file that parity must catch. Quick is one kind in 24; ``make full`` has the rest."""
    number = 0
    for mutant in CATALOGUE:
        for format in mutant.formats:
            if mutant.caught_by[format] != "check":
                number += 1
                marks = [] if number % 24 == 0 and not mutant.exports else [pytest.mark.full]
                yield pytest.param(mutant, format, id=f"{mutant.name}-{format}", marks=marks)


@pytest.mark.parametrize(("mutant", "format"), wrong_files())
def test_a_wrong_file_is_never_timed(mutant: Mutant, format: str, tmp_path: Path) -> None:
    valid = base(mutant.open_batch)
    path = mutant.damage(valid, format, tmp_path)
    assert timed_on(path, valid.path(format)) == []


@pytest.mark.slow
@pytest.mark.parametrize("open_batch", [False, pytest.param(True, marks=pytest.mark.full)])
def test_valid_files_are_timed(open_batch: bool, tmp_path: Path) -> None:
    valid = base(open_batch)
    for format, targets in (("onnx", {"onnxruntime:cpu", "openvino:cpu"}), ("openvino", set())):
        path = valid.copy(format, tmp_path / format)
        assert set(timed_on(path, valid.path(format))) >= targets | {"openvino:cpu"}


# Every other golden checkpoint is exported, checked and verified in test_golden_exports.
@pytest.mark.parametrize(
    ("format", "open_batch"),
    [
        *((format, False) for format in NETWORKS),
        *((format, True) for format in NETWORKS),
        pytest.param("litert", False, marks=pytest.mark.slow),
    ],
)
def test_no_valid_file_is_refused(format: str, open_batch: bool) -> None:
    valid = base(open_batch)
    assert check_file(valid.path(format)).violations == ()
    assert verify_file(valid.path(format), valid.checkpoint).passed


def test_there_are_at_least_forty_kinds_for_every_format() -> None:
    for format in FORMATS:
        assert sum(format in mutant.formats for mutant in CATALOGUE) >= 40


def test_the_documentation_has_the_counts() -> None:
    caught = [mutant.caught_by[format] for mutant in CATALOGUE for format in mutant.formats]
    sentence = (
        f"{len(CATALOGUE)} kinds of damage make {len(caught)} files: {caught.count('check')} are "
        f"caught by `check` alone, {caught.count('parity')} by parity alone and "
        f"{caught.count('both')} by both."
    )
    page = Path(__file__).parents[2] / "docs" / "graph-checks.md"
    assert sentence in " ".join(page.read_text(encoding="utf-8").split())


def test_every_kind_that_check_must_see_names_a_rule() -> None:
    for mutant in (*CATALOGUE, *DEVICE_CATALOGUE):
        due = {format for format in mutant.formats if mutant.caught_by[format] != "parity"}
        assert {format for format in mutant.formats if mutant.rule.get(format)} == due, mutant.name


def test_names_are_unique_and_descriptions_are_sentences() -> None:
    for kinds in (CATALOGUE, COREAI, EXECUTORCH):
        assert len({mutant.name for mutant in kinds}) == len(kinds)
    for mutant in (*CATALOGUE, *DEVICE_CATALOGUE):
        assert mutant.description[0].isupper() and mutant.description.endswith(".")


@pytest.mark.slow
def test_the_table_names_who_caught_what(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("logits-scaled", "neighbours-gathered", "old-opset")
    assert main([part for name in names for part in ("--only", name)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    words = [line.split() for line in lines]
    assert ["damage", "ONNX", "OpenVINO", "Core", "ML"] in words
    assert ["logits-scaled", *3 * ["60", "dB"]] in words
    assert ["neighbours-gathered", *3 * ["SD016"]] in words
    assert ["old-opset", "SD003,", "no", "run", "-", "-"] in words
    assert lines[-1] == (
        "3 kinds of damage, 7 files: 3 caught by check, 3 by parity, 1 by both, 0 survive."
    )


def test_a_mutant_that_survives_or_leaks_an_error_fails_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--only", "rank-6", "--format", "onnx"]
    for outcome, words in ((Outcome("", ""), "nobody"), (Outcome("SD008", "", "KeyError"), "Key")):
        monkeypatch.setattr("tests.mutants.__main__.judge", lambda *_, given=outcome: given)
        assert main(arguments) == 1
        assert words in capsys.readouterr().out


def test_cells_are_short_and_name_both_catchers() -> None:
    assert cell(Outcome("SD002 SD017 SD019", "refused")) == "SD002 +2, no run"
    assert cell(Outcome("refused", "refused")) == "refused, no run"
    assert cell(Outcome("", "-6 dB, faint")) == "-6 dB"


def test_a_kind_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "nonsense"])
    assert "nonsense is not a kind of damage" in capsys.readouterr().err
