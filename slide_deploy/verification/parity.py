"""Two answers to figures and a verdict. It fails closed: NaN is never within a limit."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy.precisions import FLOAT32_LIMIT, Limit, known_precisions
from slide_deploy.verification.cases import Answers, Case

# Sums of some thousand terms in float64 are off by less, of their largest term.
_ROUNDING = 1e-12
Predict = Callable[[Mapping[str, np.ndarray]], Answers]


# What is allowed in each precision, by its name.
LIMITS = {precision.name: precision.limit for precision in known_precisions()}


@dataclass(frozen=True)
class Agreement:
    """How one answer compares with its reference.

    Args:
        max_absolute: largest absolute difference.
        max_relative: that over the largest absolute value of the reference.
        snr_db: 10 log10 of the reference's energy over the difference's; infinite where equal.
        top1: share of rows of logits whose largest entry stands at the same place; None for maps.
    """

    max_absolute: float
    max_relative: float
    snr_db: float
    top1: float | None

    def within(self, limit: Limit) -> bool:
        """Whether both figures keep the limit; False where either is NaN."""
        return self.max_relative <= limit.relative and self.snr_db >= limit.snr_db


def compare(
    answer: np.ndarray,
    reference: np.ndarray,
    scale: float = 0.0,
    is_centred: bool = False,
    largest: float = 0.0,
) -> Agreement:
    """Compare logits (rows, classes), or maps of any rank, with their reference, in float64.

    Args:
        answer: of the file.
        reference: the true answer.
        scale: the largest absolute value that this output has for other inputs. Where the reference
            is nothing beside it but what float64 rounds, as where a normalisation takes the mean
            off a constant map, figures are relative to it.
        is_centred: take the mean over the first axis off the reference before its energy and its
            largest value are taken. A file that answers the same to every image then has a signal
            of nothing, and not that of the numbers that all answers have in common.
        largest: absolute value of the whole that these numbers are samples of, if they are.

    NaN and infinity that the reference holds must stand at the same places of the answer, as where
    logits are masked; the figures are those of the numbers around them. A difference there or in
    shape, and a reference without a number, give NaN figures, which keep no limit.
    """
    if reference.dtype.kind != "f":
        return _compare_exact(answer, reference)
    classes = reference.ndim == 2
    nothing = Agreement(math.nan, math.nan, math.nan, 0.0 if classes else None)
    if answer.shape != reference.shape or not reference.size:
        return nothing
    numbers = np.isfinite(reference)
    alike = np.array_equal(answer[~numbers], reference[~numbers], equal_nan=True)
    if not (alike and numbers.any() and np.isfinite(answer[numbers]).all()):
        return nothing
    same = (answer.argmax(-1) == reference.argmax(-1)).mean()
    difference = answer[numbers].astype(np.float64) - reference[numbers]
    if is_centred:
        reference = reference - reference.mean(0, where=numbers, keepdims=True)
    reference = reference[numbers].astype(np.float64)
    worst = float(np.abs(difference).max())
    largest = max(largest, float(np.abs(reference).max()))
    noise, signal = float((difference**2).sum()), float((reference**2).sum())
    if largest <= _ROUNDING * scale:
        largest, signal = scale, scale**2 * reference.size
    if noise == 0.0:
        return Agreement(0.0, 0.0, math.inf, 1.0 if classes else None)
    snr = 10 * math.log10(signal / noise) if signal else -math.inf
    relative = worst / largest if largest else math.inf
    return Agreement(worst, relative, snr, float(same) if classes else None)


def _compare_exact(answer: np.ndarray, reference: np.ndarray) -> Agreement:
    """Compare integers or truth values: the relative error is the share of those that differ.

    Rounding may exchange two classes that are nearly alike, so that a few may differ.
    """
    if answer.shape != reference.shape or not reference.size:
        return Agreement(math.nan, math.nan, math.nan, None)
    difference = np.abs(answer.astype(np.float64) - reference.astype(np.float64))
    share = float((difference > 0).mean())
    # Classes have no energy, and so no noise.
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
        cases: what was compared, an entry for each output of each.
        limit: what was allowed.
        runtime: what ran the file.
        version: of that runtime.
    """

    cases: tuple[CaseResult, ...]
    limit: Limit
    runtime: str
    version: str

    @property
    def passed(self) -> bool:
        """Whether there was a case and every one kept the limit."""
        return bool(self.cases) and all(case.agreement.within(self.limit) for case in self.cases)

    @property
    def worst(self) -> Agreement:
        """The worst of each figure over all cases; NaN where any is NaN."""
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
        """What was compared in each case."""
        return tuple(dict.fromkeys(case.output for case in self.cases))

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the cases that failed, with the output where there are several."""
        several = len(self.outputs) > 1
        return tuple(
            f"{case.name} at {case.output}" if several else case.name
            for case in self.cases
            if not case.agreement.within(self.limit)
        )


def _largest(values: Iterable[np.ndarray]) -> float:
    """The largest absolute number among all; infinity and NaN are none."""
    sizes = (np.abs(each[np.isfinite(each)].astype(np.float64)) for each in values)
    return max((float(each.max()) for each in sizes if each.size), default=0.0)


def verify(
    predict: Predict,
    cases: Sequence[Case],
    references: Sequence[Answers],
    *,
    runtime: str,
    version: str,
    limit: Limit = FLOAT32_LIMIT,
) -> Verification:
    """Run every case and compare every output that the reference has.

    Args:
        predict: inputs to answers, by the file under test; an output that it lacks fails.
        cases: the inputs.
        references: the true answers of each case, from the branched model in float64.
        runtime: what runs the file.
        version: of that runtime.
        limit: what is allowed.
    """
    lacking = np.empty(0)
    scales = {
        output: _largest(each[output] for each in references)
        for output in (references[0] if references else ())
    }
    results = []
    for case, reference in zip(cases, references, strict=True):
        answers = case.run(predict)
        for output, wanted in reference.items():
            answer = answers.get(output, lacking)
            agreement = compare(answer, wanted, scales[output], case.rows is not None)
            results.append(CaseResult(case.name, case.batch, output, agreement))
    return Verification(tuple(results), limit, runtime, version)
