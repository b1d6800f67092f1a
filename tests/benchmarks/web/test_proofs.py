"""Figures from a page need the proof that the plan requires."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.record import Candidate, Configuration, Measurement, Proof, Round, Tensor
from benchmarks.web.proofs import require_proof
from slide_deploy.errors import InputError
from slide_deploy.precisions import Limit
from slide_deploy.verification import draws
from slide_deploy.verification.reference_outputs.record import ExpectedCase, Reference, expected

RECIPE = draws.normal(1, (1, 3, 8, 8), "float32")


def reference(output: np.ndarray) -> Reference:
    cases = tuple(
        ExpectedCase(name, {"image": RECIPE}, {"out": expected(output, 0)})
        for name in ("noise", "border")
    )
    return Reference("0" * 64, "float32", Limit(1e-4, 80.0), cases)


MAPS, CLASSES = reference(np.ones((1, 4))), reference(np.ones((1, 4), np.int64))
TIMED = Measurement(
    Candidate("net on web:wasm", "net.onnx", "web:wasm"),
    inputs=(Tensor("image", "float32", (1, 3, 8, 8)),),
    proof=Proof(2, 1e-6, 100.0),
    rounds=(Round(0.0, 1.0, (1000,)),),
)


def at_size(size: int, **shapes: tuple[int, ...]) -> Measurement:
    """Return a measurement without a proof at a height and width."""
    candidate = replace(TIMED.candidate, configuration=Configuration(shapes=shapes))
    inputs = (Tensor("image", "float32", (1, 3, size, size)),)
    return replace(TIMED, candidate=candidate, inputs=inputs, proof=None)


@pytest.mark.parametrize(
    ("found", "known"),
    [
        (TIMED, MAPS),
        (replace(TIMED, proof=Proof(1, 0.0, None)), MAPS),
        (replace(TIMED, proof=Proof(2, 1e-5, None)), CLASSES),
        (replace(TIMED, proof=None), None),
        (replace(TIMED, proof=None, rounds=(), error="wrong: 3 dB on noise"), MAPS),
        (replace(TIMED, proof=Proof(2, 0.5, 3.0), rounds=(), error="wrong"), MAPS),
        (at_size(9, image=(1, 3, 9, 9)), MAPS),
    ],
)
def test_figures_with_their_proof_are_accepted(found: Measurement, known: Reference | None) -> None:
    require_proof(found, known, is_refused=False)


@pytest.mark.parametrize(
    ("changes", "known", "words"),
    [
        ({"proof": None}, MAPS, "contains no proof"),
        ({"proof": None, "sustained": TIMED.rounds, "rounds": ()}, MAPS, "contains no proof"),
        ({"proof": None, "error": "it ended"}, MAPS, "contains no proof"),
        ({"proof": None, "inputs": ()}, MAPS, "contains no proof"),
        ({"proof": Proof(2, 1e-3, 100.0)}, MAPS, "whose proof failed"),
        ({"proof": Proof(2, 1e-6, 79.0)}, MAPS, "whose proof failed"),
        ({"proof": Proof(2, 1e-3, None)}, CLASSES, "whose proof failed"),
        ({"proof": Proof(0, 1e-6, 100.0)}, MAPS, "impossible proof"),
        ({"proof": Proof(3, 1e-6, 100.0)}, MAPS, "impossible proof"),
        ({"proof": Proof(2, -1.0, 100.0)}, MAPS, "impossible proof"),
        ({"proof": Proof(2, 1e-6, None)}, MAPS, "impossible proof"),
        ({}, None, "impossible proof"),
    ],
)
def test_figures_without_a_valid_proof_are_refused(
    changes: dict[str, Any], known: Reference | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        require_proof(replace(TIMED, **changes), known, is_refused=False)


@pytest.mark.parametrize("found", [at_size(9), at_size(8, image=(1, 3, 9, 9))])
def test_unrequested_sizes_do_not_excuse_a_missing_proof(found: Measurement) -> None:
    with pytest.raises(InputError, match="contains no proof"):
        require_proof(found, MAPS, is_refused=False)


def test_a_refused_file_has_an_error_and_nothing_else() -> None:
    error = replace(TIMED, proof=None, rounds=(), error="wrong: the file differs from the one")
    require_proof(error, MAPS, is_refused=True)
    for found in (
        TIMED,
        replace(error, error=None),
        replace(error, rounds=TIMED.rounds),
        replace(error, proof=TIMED.proof),
    ):
        with pytest.raises(InputError, match="which the plan refuses"):
            require_proof(found, MAPS, is_refused=True)
