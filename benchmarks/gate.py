"""Yes or no for a run whose first candidate is what the others must keep up with."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compare import Verdict, judge
from benchmarks.record import Candidate, Measurement, Run
from benchmarks.statistics import Estimate, paired_ratio, widened
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Gated:
    """A candidate against the first one of its run.

    Attributes:
        name: of the candidate.
        ratio: of its time an image to the first one's, round by round; None with too few rounds,
            or another number of streams.
        verdict: on it.
    """

    name: str
    ratio: Estimate | None
    verdict: Verdict


def require_others(count: int) -> None:
    """Refuse a gate without a second candidate: it would let anything pass.

    Raises:
        InputError: if there is no other candidate.
    """
    if count < 2:
        raise InputError(
            "--fail-above holds candidates against the first one, and there is no other: name a "
            "second file, or use slide-deploy compare for an earlier run."
        )


def require_comparable(candidates: Sequence[Candidate]) -> None:
    """Refuse a gate that could hold no candidate against the first one.

    Raises:
        InputError: if there is no other candidate, or all have another number of streams.
    """
    require_others(len(candidates))
    baseline, *others = candidates
    streams = baseline.configuration.streams
    if all(each.configuration.streams != streams for each in others):
        raise InputError(
            f"--fail-above compares candidates with as many --streams as the first one, {streams}, "
            f"and no other has that: give one number of --streams."
        )


def gate(run: Run, fail_above: float) -> tuple[Gated, ...]:
    """Hold every candidate but the first against it, with the machine's noise where it is known.

    Args:
        run: measured in one go, so that rounds pair.
        fail_above: share by which a candidate may be slower, 0.05 for 5 %.
    """
    baseline, *others = run.measurements
    return tuple(_gated(each, baseline, fail_above, run.noise) for each in others)


def _gated(
    measurement: Measurement, baseline: Measurement, fail_above: float, noise: float | None
) -> Gated:
    name = measurement.candidate.name
    if measurement.error or baseline.error:
        return Gated(name, None, Verdict.failed)
    ours, theirs = measurement.candidate.configuration, baseline.candidate.configuration
    if ours.streams != theirs.streams:  # calls that share the processor take longer each
        return Gated(name, None, Verdict.unclear)
    ratio = paired_ratio(measurement.samples_per_image, baseline.samples_per_image)
    if ratio is None:
        return Gated(name, None, Verdict.unclear)
    if noise is not None:
        ratio = widened(ratio, noise)
    return Gated(name, ratio, judge(ratio, fail_above))


def closed(gated: Sequence[Gated]) -> bool:
    """Whether the gate says no."""
    return any(each.verdict in (Verdict.worse, Verdict.failed) for each in gated)


def nothing_compared(gated: Sequence[Gated]) -> bool:
    """Whether the gate has nothing to say yes to: no ratio, and nothing that failed either."""
    return not closed(gated) and all(each.ratio is None for each in gated)
