"""Checks the proofs in a page's result against its plan.

A page can send false figures. But the page verifies outputs before it times them, so figures
without a proof, or with a failed one, show that the page is broken or changed.
"""

from collections.abc import Iterator

from benchmarks.record import Measurement, Proof
from slide_deploy.backends.base import Port
from slide_deploy.errors import InputError
from slide_deploy.verification.reference_outputs.proof import fits_any
from slide_deploy.verification.reference_outputs.record import Reference


def require_proof(measurement: Measurement, reference: Reference | None, is_refused: bool) -> None:
    """Check that a measurement has the proof that its plan requires.

    Args:
        measurement: Measurement from the page.
        reference: Reference outputs of its file; None if it has none.
        is_refused: Whether the plan forbids opening the file.

    Raises:
        InputError: The proof is missing, impossible, or not within the limit.
    """
    name, proof = measurement.candidate.name, measurement.proof
    has_figures = bool(measurement.rounds or measurement.sustained)
    if is_refused and (has_figures or proof or measurement.error is None):
        raise InputError(f"The result contains {name}, which the plan refuses: measure again.")
    if proof is not None and (reference is None or not _is_possible(proof, reference)):
        raise InputError(f"The result contains an impossible proof of {name}: measure again.")
    if reference is None or not has_figures:
        return
    if proof is None:
        if any(fits_any(ports, reference) for ports in _sizes(measurement, reference)):
            raise InputError(f"The result contains no proof of {name}: measure again.")
    elif not proof.within(reference.limit):
        raise InputError(f"The result contains times of {name}, whose proof failed: measure again.")


def _is_possible(proof: Proof, reference: Reference) -> bool:
    """Return whether a comparison with these outputs can have such errors."""
    # Only integer outputs may differ without a signal-to-noise ratio.
    may_lack_noise = proof.relative == 0 or any(
        output.values.dtype.kind != "f"
        for case in reference.cases
        for output in case.outputs.values()
    )
    return (
        1 <= proof.cases <= len(reference.cases)
        and proof.relative >= 0
        and (proof.snr_db is not None or may_lack_noise)
    )


def _sizes(measurement: Measurement, reference: Reference) -> Iterator[tuple[Port, ...]]:
    """Yield the sizes that the page reports, and those of the plan.

    They differ for a file with a fixed batch, which is timed at that batch.
    """
    yield tuple(Port(each.name, each.shape, each.dtype) for each in measurement.inputs)
    wanted = measurement.candidate.configuration
    for case in reference.cases:
        own = {name: recipe.handed for name, recipe in case.recipes.items()}
        batched = {
            name: (wanted.images, *shape[1:]) if shape else () for name, shape in own.items()
        }
        sizes = batched | {name: shape for name, shape in wanted.shapes.items() if name in own}
        yield tuple(Port(name, sizes[name], each.dtype) for name, each in case.recipes.items())
