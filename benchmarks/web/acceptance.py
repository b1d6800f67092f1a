"""Whether what a page hands back is the run that it was asked for.

The page's device is a stranger: its result is held against the form of result files, against the
plan, and against what a terminal can show, before anything of it is kept.
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

# Twenty rounds of a second, each call a tenth of a millisecond, for fifty candidates, are less.
MOST_BYTES = 64 << 20
_NAME = Path("The result")
_LONGEST_TEXT = 400
_MOST_FACTS = 40
_MOST_THREADS = 256


def accepted(content: bytes, plan: PagePlan) -> Run:
    """The run that a page handed back.

    Raises:
        InputError: if it is none, or another one than was planned.
    """
    run = decode(content, _NAME)
    _require_plan(run, plan)
    for text in _texts(run):
        if len(text) > _LONGEST_TEXT or not text.isprintable():
            raise InputError("The result holds a text that cannot be shown: measure again.")
    if len(run.machine) > _MOST_FACTS:
        raise InputError("The result holds too many facts of its device: measure again.")
    return run


def _require_plan(run: Run, plan: PagePlan) -> None:
    """Refuse another run than was planned.

    What the page does not measure, such as names and hashes of files, must be as it was told.
    """
    wanted = plan.document["candidates"]
    if len(run.measurements) != len(wanted) or run.seconds != plan.document["seconds"]:
        raise _another()
    for measurement, entry, reference in zip(
        run.measurements, wanted, plan.references, strict=True
    ):
        blank = _plain(_untouched(measurement))
        if blank not in [
            _plain(each) for each in (entry["measurement"], entry["fallback"]) if each
        ]:
            raise _another()
        require_proof(measurement, reference, is_refused=entry["refused"] is not None)


def _untouched(measurement: Measurement) -> dict[str, Any]:
    """A measurement without all that a page fills in."""
    candidate = measurement.candidate
    if not 1 <= candidate.configuration.threads <= _MOST_THREADS:
        raise _another()
    return asdict(Measurement(candidate, measurement.artifact))


def _plain(measurement: dict[str, Any]) -> dict[str, Any]:
    """The same without the threads, which the page chooses."""
    candidate = measurement["candidate"]
    configuration = {**candidate["configuration"], "threads": 1}
    return {**measurement, "candidate": {**candidate, "configuration": configuration}}


def _another() -> InputError:
    return InputError("This result is of another run: open the address that the command printed.")


def _texts(run: Run) -> Iterator[str]:
    yield from (run.started, run.tool)
    yield from (text for fact in run.machine.items() for text in fact)
    for measurement in run.measurements:
        yield from (text for fact in measurement.runtime.items() for text in fact)
        yield measurement.error or ""
        yield from (text for tensor in measurement.inputs for text in (tensor.name, tensor.dtype))
        yield from measurement.cold.stages if measurement.cold else ()


def with_paths(run: Run, candidates: tuple[Candidate, ...]) -> Run:
    """The run with the paths of this machine's files, which the page never learned."""
    measured = tuple(
        replace(each, candidate=replace(each.candidate, path=known.path))
        for each, known in zip(run.measurements, candidates, strict=True)
    )
    return replace(run, measurements=measured)
