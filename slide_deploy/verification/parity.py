"""Compare two outputs. The verdict fails closed: NaN is never within a limit."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy.precisions import FLOAT32_LIMIT, Limit, known_precisions
from slide_deploy.verification.cases import Case, NamedOutputs

# Relative to its largest term, a float64 sum of some thousand terms has a smaller error than this.
_ROUNDING = 1e-12
Predict = Callable[[Mapping[str, np.ndarray]], NamedOutputs]


# The limit of each precision, by name.
LIMITS = {precision.name: precision.limit for precision in known_precisions()}


@dataclass(frozen=True)
class Agreement:
    """How one output compares with its reference.

    Args:
        max_absolute: largest absolute difference.
        max_relative: that, over the largest absolute value of the reference.
        snr_db: 10 log10(energy of the reference / energy of the difference); infinite if equal.
        top1: share of rows of logits with the same largest entry; None for feature maps.
    """

    max_absolute: float
    max_relative: float
    snr_db: float
    top1: float | None

    def within(self, limit: Limit) -> bool:
        """Whether both figures are within the limit; False if either is NaN."""
        return self.max_relative <= limit.relative and self.snr_db >= limit.snr_db


def compare(
    output: np.ndarray,
    reference: np.ndarray,
    scale: float = 0.0,
    is_centred: bool = False,
    largest: float = 0.0,
    rounding: float = _ROUNDING,
) -> Agreement:
    """Compare logits (rows, classes), or an array of any rank, with its reference in float64.

    NaN and infinity in the reference, as in masked logits, must occur at the same positions of the
    output; the figures are those of the other numbers. If they differ there or in shape, or if the
    reference has no finite number, all figures are NaN and no limit holds.

    Args:
        output: output of the file.
        reference: the true output.
        scale: largest absolute value of this output for other inputs. The figures are relative to
            it if the reference is only rounding noise beside it, for example because a
            normalisation subtracts the mean of a constant feature map.
        is_centred: subtract the mean over the first axis from the reference before its energy and
            its largest value are computed. Then a file that outputs the same for every image gets
            no credit for what all outputs have in common.
        largest: largest absolute value of the whole output if these numbers are samples of it.
        rounding: largest share of ``scale`` that counts as rounding noise of the reference.
    """
    if reference.dtype.kind != "f":
        return _compare_exact(output, reference)
    classes = reference.ndim == 2
    nothing = Agreement(math.nan, math.nan, math.nan, 0.0 if classes else None)
    if output.shape != reference.shape or not reference.size:
        return nothing
    numbers = np.isfinite(reference)
    alike = np.array_equal(output[~numbers], reference[~numbers], equal_nan=True)
    if not (alike and numbers.any() and np.isfinite(output[numbers]).all()):
        return nothing
    same = (output.argmax(-1) == reference.argmax(-1)).mean()
    difference = output[numbers].astype(np.float64) - reference[numbers]
    if is_centred:
        reference = reference - reference.mean(0, where=numbers, keepdims=True)
    reference = reference[numbers].astype(np.float64)
    worst = float(np.abs(difference).max())
    largest = max(largest, float(np.abs(reference).max()))
    noise, signal = float((difference**2).sum()), float((reference**2).sum())
    if largest <= rounding * scale:
        largest, signal = scale, scale**2 * reference.size
    if noise == 0.0:
        return Agreement(0.0, 0.0, math.inf, 1.0 if classes else None)
    snr = 10 * math.log10(signal / noise) if signal else -math.inf
    relative = worst / largest if largest else math.inf
    return Agreement(worst, relative, snr, float(same) if classes else None)


def _compare_exact(output: np.ndarray, reference: np.ndarray) -> Agreement:
    """Compare integers or booleans: the relative error is the share of those that differ.

    A few may differ, because rounding may exchange two classes with almost equal logits.
    """
    if output.shape != reference.shape or not reference.size:
        return Agreement(math.nan, math.nan, math.nan, None)
    difference = np.abs(output.astype(np.float64) - reference.astype(np.float64))
    share = float((difference > 0).mean())
    # Integers have no signal energy, and so no noise.
    return Agreement(float(difference.max()), share, math.inf, None)


@dataclass(frozen=True)
class CaseResult:
    """The agreement of one output in one case."""

    name: str
    batch: int
    output: str
    agreement: Agreement


@dataclass(frozen=True)
class Verification:
    """The verdict on one file.

    Args:
        cases: one result per case and output.
        limit: the allowed error.
        runtime: name of the runtime that ran the file.
        version: of that runtime.
    """

    cases: tuple[CaseResult, ...]
    limit: Limit
    runtime: str
    version: str

    @property
    def passed(self) -> bool:
        """Whether there is at least one case and every case is within the limit."""
        return bool(self.cases) and all(case.agreement.within(self.limit) for case in self.cases)

    @property
    def worst(self) -> Agreement:
        """The worst value of each figure over all cases; NaN if any is NaN."""
        agreements = [case.agreement for case in self.cases]
        shares = [a.top1 for a in agreements if a.top1 is not None]
        return Agreement(
            max_absolute=float(np.max([a.max_absolute for a in agreements])),
            max_relative=float(np.max([a.max_relative for a in agreements])),
            snr_db=float(np.min([a.snr_db for a in agreements])),
            top1=float(np.mean(shares)) if shares else None,
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the compared outputs."""
        return tuple(dict.fromkeys(case.output for case in self.cases))

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the failed cases, with the output if there are several."""
        several = len(self.outputs) > 1
        return tuple(
            f"{case.name} at {case.output}" if several else case.name
            for case in self.cases
            if not case.agreement.within(self.limit)
        )


def _largest(values: Iterable[np.ndarray]) -> float:
    """The largest absolute finite number in all arrays; 0 if there is none."""
    sizes = (np.abs(each[np.isfinite(each)].astype(np.float64)) for each in values)
    return max((float(each.max()) for each in sizes if each.size), default=0.0)


def verify(
    predict: Predict,
    cases: Sequence[Case],
    references: Sequence[NamedOutputs],
    *,
    runtime: str,
    version: str,
    limit: Limit = FLOAT32_LIMIT,
    rounding: float = _ROUNDING,
) -> Verification:
    """Run every case and compare every output that the reference has.

    Args:
        predict: runs the file under test; a missing output fails.
        cases: the inputs.
        references: the true outputs of each case, as a rule from the branched model in float64.
        runtime: name of the runtime that runs the file.
        version: of that runtime.
        limit: the allowed error.
        rounding: as for ``compare``; larger for references that were computed in float32.
    """
    lacking = np.empty(0)
    scales = {
        output: _largest(each[output] for each in references)
        for output in (references[0] if references else ())
    }
    results = []
    for case, reference in zip(cases, references, strict=True):
        outputs = case.run(predict)
        for name, wanted in reference.items():
            agreement = compare(
                outputs.get(name, lacking),
                wanted,
                scales[name],
                case.rows is not None,
                rounding=rounding,
            )
            results.append(CaseResult(case.name, case.batch, name, agreement))
    return Verification(tuple(results), limit, runtime, version)
