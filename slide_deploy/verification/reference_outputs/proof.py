"""Verify an opened file against its reference outputs, by the very calls that are timed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy.backends.base import Feeds, Port, Session, Stream
from slide_deploy.precisions import Limit, known_precisions
from slide_deploy.verification.parity import Agreement, CaseResult, Verification, compare
from slide_deploy.verification.reference_outputs.record import Expected, ExpectedCase, Reference

_NOTHING = np.empty(0)


@dataclass(frozen=True)
class _Fitted:
    """A case for the batch size of a session, which its examples fill by repetition.

    Attributes:
        case: the case.
        copies: how often the batch of the case fits into that of the session.
    """

    case: ExpectedCase
    copies: int

    def outputs(self, session: Session, stream: Stream) -> Iterator[dict[str, np.ndarray]]:
        """Run the whole case and yield the outputs of each copy."""
        parts = [
            self._apart(session.run_on(stream, self._repeated(session, part)), part)
            for part in self.case.case().parts()
        ]
        for copy in range(self.copies):
            of_copy = [part[copy] for part in parts]
            yield {
                name: _joined([part[name] for part in of_copy], self.case.rows)
                for name in of_copy[0]
            }

    def _repeated(self, session: Session, part: Feeds) -> dict[str, np.ndarray]:
        if self.copies == 1:
            return dict(part)
        return {
            port.name: np.concatenate([part[port.name]] * self.copies)
            if port.shape and port.shape[0] != part[port.name].shape[0]
            else part[port.name]
            for port in session.inputs
        }

    def _apart(self, outputs: Mapping[str, np.ndarray], part: Feeds) -> list[dict[str, np.ndarray]]:
        if self.copies == 1:
            return [dict(outputs)]
        rows = next(each.shape[0] for each in part.values() if each.ndim)
        return [
            {
                # An output without batch axis is the same for all copies.
                name: each[copy * rows : (copy + 1) * rows]
                if each.ndim and each.shape[0] == rows * self.copies
                else each
                for name, each in outputs.items()
            }
            for copy in range(self.copies)
        ]


def fits_all(session: Session, reference: Reference) -> bool:
    """Whether a session takes every case; one with a fixed batch may refuse some."""
    return all(_fitted(session.inputs, case) is not None for case in reference.cases)


def fits_any(ports: Sequence[Port], reference: Reference) -> bool:
    """Whether any case has the input sizes of a session."""
    return any(_fitted(ports, case) is not None for case in reference.cases)


def prove(
    session: Session, stream: Stream, reference: Reference, precision: str | None = None
) -> Verification | None:
    """Run and compare every case that a session takes.

    Args:
        session: the opened file.
        stream: the stream of the session whose calls are verified.
        reference: the reference outputs.
        precision: precision in which the session computes; None for that of the file. The looser
            limit of the two applies.

    Returns:
        The figures of every case; None if no case has the input sizes of the session.

    Raises:
        InputError: if the runtime refuses a case.
    """
    fitted = [found for case in reference.cases if (found := _fitted(session.inputs, case))]
    if not fitted:
        return None
    scales = _scales([each.case for each in fitted])
    results = []
    for each in fitted:
        batch = each.copies * each.case.batch
        for outputs in each.outputs(session, stream):
            for name, wanted in each.case.outputs.items():
                output = outputs.get(name, _NOTHING)
                agreement = _compared(output, wanted, scales[name], each.case.rows is not None)
                results.append(CaseResult(each.case.name, batch, name, agreement))
    limit = _limit(reference, precision)
    return Verification(tuple(results), limit, session.runtime, session.version)


def worst_failure(verdict: Verification) -> str:
    """Describe the worst case of a failed verification, as in "23 dB on border"."""
    failed = [each for each in verdict.cases if not each.agreement.within(verdict.limit)]
    worst = min(failed, key=lambda each: _order(each.agreement))
    agreement = worst.agreement
    if math.isnan(agreement.snr_db):
        figure = "other shapes, NaN or infinity"
    elif agreement.snr_db < verdict.limit.snr_db:
        figure = f"{agreement.snr_db:.0f} dB"
    else:
        figure = f"an error of {agreement.max_relative:.1g}"
    several = len(verdict.outputs) > 1
    return f"{figure} on {worst.name}" + (f" at {worst.output}" if several else "")


def _order(agreement: Agreement) -> float:
    return -math.inf if math.isnan(agreement.snr_db) else agreement.snr_db


def _limit(reference: Reference, precision: str | None) -> Limit:
    computed = next((each.limit for each in known_precisions() if each.name == precision), None)
    return reference.limit if computed is None else reference.limit.looser(computed)


def _scales(cases: Sequence[ExpectedCase]) -> dict[str, float]:
    """The largest absolute value of each output over all cases."""
    scales: dict[str, float] = {}
    for case in cases:
        for name, each in case.outputs.items():
            scales[name] = max(each.largest, scales.get(name, 0.0))
    return scales


def _compared(output: np.ndarray, wanted: Expected, scale: float, is_centred: bool) -> Agreement:
    if output.shape != wanted.shape:
        output = _NOTHING
    elif wanted.sampling is not None:
        output = wanted.sampling.of(output)
    return compare(output, wanted.values, scale, is_centred, wanted.largest)


def _fitted(ports: Sequence[Port], case: ExpectedCase) -> _Fitted | None:
    """Fit a case to the input sizes of a session; None if that is impossible."""
    copies = {1}
    for port in ports:
        recipe = case.recipes.get(port.name)
        if recipe is None or len(recipe.handed) != len(port.shape):
            return None
        shape = recipe.handed
        if case.rows is not None and shape:
            shape = (case.rows, *shape[1:])
        for axis, (size, wanted) in enumerate(zip(shape, port.shape, strict=True)):
            if wanted in (None, size):
                continue
            if axis or not size or not wanted or wanted % size:
                return None
            copies.add(wanted // size)
    found = copies - {1}
    if len(found) > 1 or len(case.recipes) != len(ports):
        return None
    return _Fitted(case, found.pop() if found else 1)


def _joined(parts: Sequence[np.ndarray], rows: int | None) -> np.ndarray:
    return parts[0] if rows is None else np.concatenate(parts)
