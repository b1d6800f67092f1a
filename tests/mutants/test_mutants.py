"""Every mutant is seen by those who must see it, and no valid file is refused."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slide_deploy.graph_checks import check_file
from slide_deploy.graph_checks.graph import Format
from slide_deploy.verification import verify_file
from tests.mutants.__main__ import main
from tests.mutants.bases import base
from tests.mutants.catalogue import CATALOGUE, GAPS
from tests.mutants.catalogue_models import NETWORKS, WEIGHTS
from tests.mutants.judge import judge
from tests.mutants.mutant import FORMATS, Mutant


def files() -> Iterator[object]:
    """A file of every kind and format; of damaged models one format each in quick runs."""
    for number, mutant in enumerate(CATALOGUE):
        of_a_model = mutant in WEIGHTS or mutant in NETWORKS
        for format in mutant.formats:
            marks = []
            if of_a_model and format != mutant.formats[number % len(mutant.formats)]:
                marks.append(pytest.mark.slow)
            if (mutant.name, format) in GAPS:
                reason = GAPS[mutant.name, format]
                marks.append(pytest.mark.xfail(reason=reason, strict=True))
            yield pytest.param(mutant, format, id=f"{mutant.name}-{format}", marks=marks)


@pytest.mark.parametrize(("mutant", "format"), files())
def test_damage_is_seen(mutant: Mutant, format: Format, tmp_path: Path) -> None:
    outcome = judge(mutant, format, tmp_path)
    assert outcome.keeps(mutant.caught_by[format]), outcome
    assert not outcome.leaked, "a runtime's own error must become a sentence"


# Every other golden checkpoint is exported, checked and verified in test_golden_exports.
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("open_batch", [False, True])
def test_no_valid_file_is_refused(format: Format, open_batch: bool) -> None:
    valid = base(open_batch)
    assert check_file(valid.path(format)).violations == ()
    assert verify_file(valid.path(format), valid.checkpoint).passed


def test_there_are_at_least_forty_kinds_for_every_format() -> None:
    for format in FORMATS:
        assert sum(format in mutant.formats for mutant in CATALOGUE) >= 40


def test_names_are_unique_and_descriptions_are_sentences() -> None:
    assert len({mutant.name for mutant in CATALOGUE}) == len(CATALOGUE)
    for mutant in CATALOGUE:
        assert mutant.description[0].isupper() and mutant.description.endswith(".")


def test_gaps_name_mutants_that_exist() -> None:
    assert GAPS.keys() <= {(mutant.name, format) for mutant in CATALOGUE for format in FORMATS}


def test_the_table_names_who_caught_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", "onnx", "--only", "logits-scaled", "--only", "rank-6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    words = [line.split() for line in lines]
    assert ["logits-scaled", "onnx", "parity", "60", "dB,"] in [line[:5] for line in words]
    assert ["rank-6", "onnx", "check", "SD008"] in [line[:4] for line in words]
    assert lines[-1].startswith("2 kinds of damage, 2 files: 1 caught by check, 1 by parity")


def test_a_kind_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "nonsense"])
    assert "nonsense is not a kind of damage" in capsys.readouterr().err
