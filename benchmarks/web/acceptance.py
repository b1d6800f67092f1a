"""Checks that a result from a page is the planned run.

The page's device is untrusted. Its result must be a valid result file, agree with the plan, and
contain only printable text.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.record import Candidate, Measurement, Run
from benchmarks.result import decode
from benchmarks.web.plan import PagePlan
from benchmarks.web.proofs import require_proof
from slide_deploy.errors import InputError

# Enough for fifty candidates with twenty rounds of 1 s and calls of 0.1 ms.
MOST_BYTES = 64 << 20
_NAME = Path("The result")
_LONGEST_TEXT = 400
_MOST_FACTS = 40
_MOST_THREADS = 256


def accepted(content: bytes, plan: PagePlan) -> Run:
    """Return the run from a page's result.

    Raises:
        InputError: It is not a valid run, or not the planned one.
    """
    run = decode(content, _NAME)
    _require_plan(run, plan)
    for text in _texts(run):
        if len(text) > _LONGEST_TEXT or not text.isprintable():
            raise InputError("The result contains unprintable or too long text: measure again.")
    if len(run.machine) > _MOST_FACTS:
        raise InputError("The result contains too many facts of its device: measure again.")
    return run


def _require_plan(run: Run, plan: PagePlan) -> None:
    """Check that a run is the planned one.

    Everything that the page does not measure, such as names and hashes of files, must be equal.
    """
    wanted = plan.document["candidates"]
    if len(run.measurements) != len(wanted) or run.seconds != plan.document["seconds"]:
        raise _other_run()
    for measurement, entry, reference in zip(
        run.measurements, wanted, plan.references, strict=True
    ):
        blank = _plain(_untouched(measurement))
        if blank not in [
            _plain(each) for each in (entry["measurement"], entry["fallback"]) if each
        ]:
            raise _other_run()
        require_proof(measurement, reference, is_refused=entry["refused"] is not None)


def _untouched(measurement: Measurement) -> dict[str, Any]:
    """Return a measurement without the fields that a page fills in."""
    candidate = measurement.candidate
    if not 1 <= candidate.configuration.threads <= _MOST_THREADS:
        raise _other_run()
    return asdict(Measurement(candidate, measurement.artifact))


def _plain(measurement: dict[str, Any]) -> dict[str, Any]:
    """Return a measurement without the threads, which the page chooses."""
    candidate = measurement["candidate"]
    configuration = {**candidate["configuration"], "threads": 1}
    return {**measurement, "candidate": {**candidate, "configuration": configuration}}


def _other_run() -> InputError:
    return InputError("This result is from another run: open the address that the command printed.")


def _texts(run: Run) -> Iterator[str]:
    yield from (run.started, run.tool)
    yield from (text for fact in run.machine.items() for text in fact)
    for measurement in run.measurements:
        yield from (text for fact in measurement.runtime.items() for text in fact)
        yield measurement.error or ""
        yield from (text for tensor in measurement.inputs for text in (tensor.name, tensor.dtype))
        yield from measurement.cold.stages if measurement.cold else ()


def with_paths(run: Run, candidates: tuple[Candidate, ...]) -> Run:
    """Return the run with the paths of this machine's files, which the page does not have."""
    measured = tuple(
        replace(each, candidate=replace(each.candidate, path=known.path))
        for each, known in zip(run.measurements, candidates, strict=True)
    )
    return replace(run, measurements=measured)
