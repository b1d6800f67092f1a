"""Every mutant of a Core AI asset is seen by those who must see it.

Weights and networks are damaged as in every format, and the program itself by edits of its own.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import check_file
from slide_deploy.verification.verify import verify_file
from tests.mutants import coreai_damage as damage
from tests.mutants.bases import LOWERING, Base
from tests.mutants.catalogue_models import NETWORKS, WEIGHTS
from tests.mutants.coreai_damage import Edit, in_metadata, in_program
from tests.mutants.judge import Outcome, check_outcome, figure
from tests.mutants.mutant import REFUSED, Mutant
from tests.saved.aimodel.assets import hashed_again
from tests.support import exported, exported_path, golden_swin

pytest.importorskip("coreai")
FORMAT = "coreai"

# What is wrong, who must see it, and by which rule.
PROGRAMS: dict[str, tuple[Edit, str, str]] = {
    "unlisted-operator": (in_program(damage.unlisted_operator), "both", "SD004"),
    "relu-for-gelu": (in_program(damage.relu_for_gelu), "parity", ""),
    "residual-subtracted": (in_program(damage.residual_subtracted), "parity", ""),
    "softmax-over-another-axis": (in_program(damage.softmax_over_another_axis), "parity", ""),
    "epsilon-everywhere": (in_program(damage.epsilon("1.0E-3")), "both", "SD019"),
    "epsilon-a-little-smaller": (in_program(damage.epsilon("9.9E-6")), "check", "SD019"),
    "input-renamed": (in_program(damage.renamed("arg_attrs")), "check", "SD010"),
    "output-renamed": (in_program(damage.renamed("res_attrs")), "check", "SD010"),
    "halves": (in_program(damage.through("f16")), "both", "SD021"),
    "doubles": (in_program(damage.in_doubles), "check", "SD007"),
    "rank-6": (in_program(damage.rank_6), "check", "SD008"),
    "clipped": (in_program(damage.clipped), "parity", ""),
    "values-read-the-keys": (in_program(damage.values_read_the_keys), "parity", ""),
    "border-of-ones": (in_program(damage.border_of_ones), "both", "SD017"),
    "border-replicated-in-the-file": (in_program(damage.border_replicated), "both", "SD017"),
    "map-transposed": (in_program(damage.map_transposed), "parity", ""),
    "truncated": (damage.truncated, "both", REFUSED),
    "one-byte": (damage.one_byte, "both", REFUSED),
    "without-hash": (damage.without_hash, "both", REFUSED),
    "without-census": (in_metadata(damage.without_census), "check", "SD017"),
    "another-precision": (in_metadata(damage.other_precision), "check", "SD021"),
    "format-of-the-future": (in_metadata(damage.of_the_future), "check", "SD003"),
}


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
    for number, name in enumerate(PROGRAMS):
        yield pytest.param(name, marks=[] if number % 4 == 0 else [pytest.mark.slow])


@pytest.mark.parametrize("name", programs())
def test_damage_to_the_asset_is_seen(name: str, tmp_path: Path) -> None:
    edit, catcher, rule = PROGRAMS[name]
    valid = base(open_batch=False)
    asset = valid.copy(FORMAT, tmp_path)
    edit(asset)
    outcome = judge(asset, valid)
    assert outcome.caught_by in (catcher, "both"), outcome
    if rule:
        assert rule in outcome.check.split(), outcome


def models() -> Iterator[object]:
    """Long tests have one in six; ``make full`` has the rest."""
    for number, mutant in enumerate((*WEIGHTS, *NETWORKS)):
        mark = pytest.mark.full if number % 6 else pytest.mark.slow
        yield pytest.param(mutant, id=mutant.name, marks=mark)


@pytest.mark.parametrize("mutant", models())
def test_damage_to_the_model_is_seen(mutant: Mutant, tmp_path: Path) -> None:
    valid = base(mutant.open_batch)
    asset = mutant.damage(valid, FORMAT, tmp_path)
    hashed_again(asset)
    outcome = judge(asset, valid)
    # Every format sees these alike.
    expected = mutant.caught_by["onnx"]
    assert outcome.caught_by in (expected, "both"), outcome
    if "onnx" in mutant.rule:
        assert mutant.rule["onnx"] in outcome.check.split(), outcome
