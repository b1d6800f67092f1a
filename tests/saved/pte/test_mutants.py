"""Damage to a valid ``.pte`` file is seen: by the runtime that loads it, a rule, or parity."""

from pathlib import Path

import numpy as np
import pytest

from slide_deploy.backends.opening import open_file
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph, standard_ops
from slide_deploy.graph_checks.check import check_graph
from slide_deploy.verification.parity import FLOAT32_LIMIT, compare
from tests.mutants.catalogue_devices import EXECUTORCH
from tests.mutants.mutant import Mutant
from tests.saved.pte.networks import SHAPE, written
from tests.support import copied

UNREADABLE = ("half-a-file", "another-library")


class Valid:
    """The file of the small network, as `Mutant.damage` takes it."""

    def copy(self, format: str, folder: Path) -> Path:
        return copied(written().paths[format], folder)


@pytest.mark.parametrize("mutant", EXECUTORCH, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    path = mutant.damage(Valid(), "executorch", tmp_path)
    if mutant.name in UNREADABLE:
        with pytest.raises(InputError, match=path.name):
            open_file(path)
        return
    rules = {each.rule for each in check_graph(read_graph(path), standard_ops())}
    if mutant.caught_by["executorch"] == "check":
        assert mutant.rule["executorch"] in rules
        return
    assert rules == set()
    image = np.random.default_rng(0).standard_normal((1, *SHAPE)).astype(np.float32)
    valid = written().paths["executorch"]
    right, wrong = (open_file(each)({"image": image})["logits"] for each in (valid, path))
    agreement = compare(wrong, right, float(np.abs(right).max()))
    assert not agreement.within(FLOAT32_LIMIT)
