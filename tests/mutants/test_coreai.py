"""Every mutant of a Core AI asset is caught by what must catch it.

Weights and networks are damaged as in every format, and the asset itself by `COREAI`.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import check_file
from slide_deploy.verification.verify import verify_file
from tests.mutants.bases import LOWERING, Base
from tests.mutants.catalogue_devices import COREAI
from tests.mutants.catalogue_models import NETWORKS, WEIGHTS
from tests.mutants.judge import Outcome, check_outcome, figure
from tests.mutants.mutant import REFUSED, Mutant
from tests.saved.aimodel.assets import hashed_again
from tests.support import exported, exported_path, golden_swin

pytest.importorskip("coreai")
FORMAT = "coreai"


class Assets(Base):
    """The valid asset of a checkpoint."""

    def path(self, format: str) -> Path:
        result = exported(
            self.checkpoint, dynamic_batch=self.open_batch, lowering=LOWERING, formats=(FORMAT,)
        )
        return exported_path(result, format)


@cache
def base(open_batch: bool) -> Assets:
    name = "slide_swin_nano" if open_batch else "slide_swin_nano_shifted"
    return Assets(golden_swin(name).load(), open_batch)


def judge(asset: Path, valid: Assets) -> Outcome:
    check = check_outcome(asset)
    try:
        return Outcome(check, figure(verify_file(asset, valid.trained)))
    except InputError:
        return Outcome(check, REFUSED)


def test_the_valid_asset_passes() -> None:
    valid = base(open_batch=False)
    assert check_file(valid.path(FORMAT)).violations == ()
    assert judge(valid.path(FORMAT), valid) == Outcome("", "")


def programs() -> Iterator[object]:
    """One in four is quick."""
    for number, mutant in enumerate(COREAI):
        marks = [] if number % 4 == 0 else [pytest.mark.slow]
        yield pytest.param(mutant, id=mutant.name, marks=marks)


@pytest.mark.parametrize("mutant", programs())
def test_damage_to_the_asset_is_found(mutant: Mutant, tmp_path: Path) -> None:
    valid = base(open_batch=False)
    outcome = judge(mutant.damage(valid, FORMAT, tmp_path), valid)
    assert outcome.keeps(mutant.caught_by[FORMAT]), outcome
    if FORMAT in mutant.rule:
        assert mutant.rule[FORMAT] in outcome.check.split(), outcome


def models() -> Iterator[object]:
    """Long tests have one in six; ``make full`` has the rest."""
    for number, mutant in enumerate((*WEIGHTS, *NETWORKS)):
        mark = pytest.mark.full if number % 6 else pytest.mark.slow
        yield pytest.param(mutant, id=mutant.name, marks=mark)


@pytest.mark.parametrize("mutant", models())
def test_damage_to_the_model_is_found(mutant: Mutant, tmp_path: Path) -> None:
    valid = base(mutant.open_batch)
    asset = mutant.damage(valid, FORMAT, tmp_path)
    hashed_again(asset)
    outcome = judge(asset, valid)
    # Every format sees these alike.
    expected = mutant.caught_by["onnx"]
    assert outcome.caught_by in (expected, "both"), outcome
    if "onnx" in mutant.rule:
        assert mutant.rule["onnx"] in outcome.check.split(), outcome
