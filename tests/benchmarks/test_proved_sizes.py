"""Files are verified even if they are measured at other sizes than their reference outputs."""

from pathlib import Path

import pytest

from benchmarks.measuring.race import RacePlan, race
from benchmarks.measuring.worker import Worker
from benchmarks.record import Candidate, Configuration
from slide_deploy.errors import InputError, SlideDeployError
from tests.benchmarks.proved_sizes import RIGHT, any_sizes, fixed_sizes, written

OTHER = {"x": (1, 3, 16, 16)}
TARGETS = [any_sizes.name, fixed_sizes.name]


def proof_of(path: Path, target: str, batch: int = 1, **shapes: tuple[int, ...]):
    """Verify a file as the race does."""
    worker = Worker()
    candidate = Candidate("a", str(path), target, Configuration(batch=batch, shapes=shapes))
    worker.load(candidate)
    proof, is_left = worker.prove(None)
    if is_left:
        worker.prove_open(candidate)
    return proof


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("fixed", [None, 1])
def test_a_correct_file_is_unproven_at_other_sizes(
    tmp_path: Path, target: str, fixed: int | None
) -> None:
    path = written(tmp_path / "a.json", fixed=fixed)
    assert proof_of(path, target, **OTHER) is None
    proof = proof_of(path, target, x=(1, 3, 8, 8))
    assert proof is not None and (proof.cases, proof.precision) == (1, "float32")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("fixed", [None, 1])
@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 3, 8, 8)])
def test_a_wrong_file_has_no_figure_at_any_size(
    tmp_path: Path, target: str, fixed: int | None, shape: tuple[int, ...]
) -> None:
    path = written(tmp_path / "a.json", 2.1, fixed)
    with pytest.raises(SlideDeployError, match=r"^wrong: .* on (noise|batch of 3)"):
        proof_of(path, target, x=shape)


def test_a_file_that_accepts_no_case_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", fixed=5, cases_of=(("batch of 3", 3),))
    with pytest.raises(SlideDeployError, match="accepts other inputs than at its export"):
        proof_of(path, any_sizes.name, 5, x=(5, 3, 16, 16))
    # No case can be opened, so the target's error is the reason.
    with pytest.raises(InputError, match="leaves sizes open"):
        proof_of(path, fixed_sizes.name, 5, x=(5, 3, 16, 16))


def test_the_race_verifies_both_at_their_own_sizes(tmp_path: Path) -> None:
    candidates = []
    for name, weight in (("right", RIGHT), ("wrong", 2.1)):
        path = written(tmp_path / f"{name}.json", weight)
        settings = Configuration(shapes=OTHER)
        candidates.append(Candidate(name, str(path), any_sizes.name, settings))
    right, wrong = race(
        RacePlan(tuple(candidates), seconds=0.05, rounds=1, warm_up=0.1)
    ).measurements
    assert right.error is None and right.proof is None and right.rounds
    assert (wrong.error or "").startswith("wrong: ") and not wrong.rounds
