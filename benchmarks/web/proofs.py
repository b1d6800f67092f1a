"""Whether the proofs that a page hands back are ones that its plan allows.

A page cannot be made to tell the truth. But figures without the proof that the page takes before it
times, or with one that it would not have passed, come from a page that is broken or changed.
"""

from collections.abc import Iterator

from benchmarks.record import Measurement, Proof
from slide_deploy.backends.base import Port
from slide_deploy.errors import InputError
from slide_deploy.verification.reference_outputs.proof import fits_any
from slide_deploy.verification.reference_outputs.record import Reference


def require_proof(measurement: Measurement, reference: Reference | None, is_refused: bool) -> None:
    """Refuse figures that the page had to prove first and did not.

    Args:
        measurement: that was handed back.
        reference: outputs of its file; None if it has none.
        is_refused: whether the plan says that the file must not be opened.

    Raises:
        InputError: if the proof is missing, not within the limit, or impossible.
    """
    name, proof = measurement.candidate.name, measurement.proof
    has_figures = bool(measurement.rounds or measurement.sustained)
    if is_refused and (has_figures or proof or measurement.error is None):
        raise InputError(f"The result measures {name}, which the plan refuses: measure again.")
    if proof is not None and (reference is None or not _is_possible(proof, reference)):
        raise InputError(f"The result holds an impossible proof of {name}: measure again.")
    if reference is None or not has_figures:
        return
    if proof is None:
        if any(fits_any(ports, reference) for ports in _sizes(measurement, reference)):
            raise InputError(f"The result holds no proof of {name}: measure again.")
    elif not proof.within(reference.limit):
        raise InputError(f"The result times {name}, whose proof failed: measure again.")


def _is_possible(proof: Proof, reference: Reference) -> bool:
    """Whether a comparison with these outputs can have such figures, right or wrong."""
    # Only outputs of whole numbers may differ and have no noise.
    may_lack_noise = proof.relative == 0 or any(
        answer.values.dtype.kind != "f"
        for case in reference.cases
        for answer in case.outputs.values()
    )
    return (
        1 <= proof.cases <= len(reference.cases)
        and proof.relative >= 0
        and (proof.snr_db is not None or may_lack_noise)
    )


def _sizes(measurement: Measurement, reference: Reference) -> Iterator[tuple[Port, ...]]:
    """The sizes that the page says it timed, and those that the plan asked for.

    A file whose batch is fixed is timed at that batch; the plan does not know it.
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
