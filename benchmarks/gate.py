"""The gate: fails a run if a candidate is slower than the first one."""

from collections.abc import Sequence

from benchmarks.compare import Comparison, Verdict, judge
from benchmarks.record import Candidate, Measurement, Run
from benchmarks.statistics import paired_ratio, widened
from slide_deploy.errors import InputError


def require_others(count: int) -> None:
    """Check that a gate has a second candidate, as it would pass anything otherwise.

    Raises:
        InputError: There is no second candidate.
    """
    if count < 2:
        raise InputError(
            "--fail-above compares candidates with the first one, and there is no other: give a "
            "second file, or use slide-deploy compare for an earlier run."
        )


def require_comparable(candidates: Sequence[Candidate]) -> None:
    """Check that a gate can compare a candidate with the first one.

    Raises:
        InputError: There is no second candidate, or all have another number of streams.
    """
    require_others(len(candidates))
    baseline, *others = candidates
    streams = baseline.configuration.streams
    if all(each.configuration.streams != streams for each in others):
        raise InputError(
            f"--fail-above compares candidates with as many --streams as the first one, {streams}, "
            f"and no other has that: give one number of --streams."
        )


def gate(run: Run, fail_above: float) -> tuple[Comparison, ...]:
    """Compare every other candidate with the first, widened by the machine's noise if known.

    Args:
        run: A run whose rounds are interleaved, so that they pair.
        fail_above: Share by which a candidate may be slower, 0.05 for 5 %.

    Returns:
        The time per image of each candidate / that of the first one, paired by round. There is no
        ratio with too few rounds or another number of streams.
    """
    baseline, *others = run.measurements
    return tuple(_gated(each, baseline, fail_above, run.noise) for each in others)


def _gated(
    measurement: Measurement, baseline: Measurement, fail_above: float, noise: float | None
) -> Comparison:
    name = measurement.candidate.name
    if measurement.error or baseline.error:
        return Comparison(name, None, Verdict.failed)
    ours, theirs = measurement.candidate.configuration, baseline.candidate.configuration
    if ours.streams != theirs.streams:  # concurrent calls share the processor and take longer
        return Comparison(name, None, Verdict.unclear)
    ratio = paired_ratio(measurement.samples_per_image, baseline.samples_per_image)
    if ratio is None:
        return Comparison(name, None, Verdict.unclear)
    if noise is not None:
        ratio = widened(ratio, noise)
    return Comparison(name, ratio, judge(ratio, fail_above))
