"""Golden networks of every family as ExecuTorch files, proved by its own runtime."""

import numpy as np
import pytest

from tests.families.golden import NAMES, family_golden
from tests.support import answers, exported, golden_swin

# A family whose other attentions are neither windows nor pooled.
SHORT = ["slide_nat_nano"]
LONG = [name for name in NAMES if name not in SHORT]


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in SHORT),
        *(pytest.param(name, marks=pytest.mark.full) for name in LONG),
    ],
)
def test_a_family(name: str) -> None:
    golden = family_golden(name)
    result = exported(golden.load(), formats=("executorch",))
    assert result.passed, result.problems
    (file,) = result.files
    assert file.verification.worst.max_relative < 1e-4
    image = golden.expected["image"].numpy()
    found = answers(file.paths[0], image)["logits"]
    assert np.abs(found - golden.expected["logits"].numpy()).max() < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("slide_swin_nano", marks=pytest.mark.slow),
        pytest.param("slide_swin_nano_shifted", marks=pytest.mark.full),
    ],
)
def test_slide_swin(name: str) -> None:
    result = exported(golden_swin(name).load(), formats=("executorch",))
    assert result.passed, result.problems
    assert result.files[0].verification.worst.max_relative < 1e-4
