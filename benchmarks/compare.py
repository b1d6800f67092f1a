"""Compares two runs of the same candidates: better, worse or undecided.

Each ratio is new time / old time, with a 95 % interval from the rounds of both runs. Two effects
are not in those rounds and widen the interval:

- the noise between equal candidates, if a run was calibrated;
- a change in the machine's speed between the runs, if both measured its peak rates. The interval
  then covers both the ratio and the ratio corrected for that change.

The gate compares the candidates of one run with the first one, round by round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from benchmarks.record import Candidate, Limits, Measurement, Run
from benchmarks.statistics import Estimate, Interval, paired_ratio, unpaired_ratio, widened
from slide_deploy.errors import InputError
from slide_deploy.machine import fingerprint


class Verdict(StrEnum):
    """Outcome of comparing a ratio's interval with a limit."""

    better = "better"
    same = "same"
    worse = "worse"
    unclear = "cannot tell"
    failed = "failed"
    lost = "not measured any more"
    added = "new"


@dataclass(frozen=True)
class Comparison:
    """One candidate in both runs.

    Attributes:
        name: Name of the candidate.
        ratio: New time / old time; None if one side has too few rounds.
        verdict: Verdict on the ratio.
        remark: Further differences between the runs; may be empty.
    """

    name: str
    ratio: Estimate | None
    verdict: Verdict
    remark: str = ""


def judge(ratio: Estimate, fail_above: float) -> Verdict:
    """Return the verdict on a ratio.

    Args:
        ratio: New time / old time.
        fail_above: Share by which new may be slower, 0.05 for 5 %.

    Returns:
        ``worse`` if the whole interval lies above 1 + ``fail_above``, ``better`` if it lies below
        1 / (1 + ``fail_above``), ``same`` if it lies between the two, and ``unclear`` otherwise.
    """
    limit = 1 + fail_above
    low, high = ratio.interval.low, ratio.interval.high
    if low > limit:
        return Verdict.worse
    if high < 1 / limit:
        return Verdict.better
    if 1 / limit <= low and high <= limit:
        return Verdict.same
    return Verdict.unclear


def compare(
    old: Run, new: Run, fail_above: float, across_machines: bool = False
) -> tuple[Comparison, ...]:
    """Compare a run with an earlier one, candidate by candidate.

    Args:
        old: The earlier run.
        new: The later run.
        fail_above: Share by which new may be slower.
        across_machines: Whether to compare runs of different machines.

    Returns:
        One comparison for each candidate of either run, those of the old run first.

    Raises:
        InputError: The machines differ without ``across_machines``, or no candidate is in both.
    """
    if fingerprint(old.machine) != fingerprint(new.machine) and not across_machines:
        raise InputError(
            f"The runs come from different machines ({_machine(old)}; {_machine(new)}): measure "
            f"both on the same machine, or give --across-machines."
        )
    before = {_key(each.candidate): each for each in old.measurements}
    after = {_key(each.candidate): each for each in new.measurements}
    if not before.keys() & after.keys():
        raise InputError(
            "The runs have no candidate in common: give two runs with equal names, targets, batch "
            "sizes and streams."
        )
    noise = max(old.noise or 1.0, new.noise or 1.0)
    machine = _machine_ratio(old.limits, new.limits)
    return tuple(
        _compare(before.get(key), after.get(key), fail_above, noise, machine)
        for key in dict.fromkeys([*before, *after])
    )


def _compare(
    old: Measurement | None,
    new: Measurement | None,
    fail_above: float,
    noise: float,
    machine: float | None,
) -> Comparison:
    either = new or old
    assert either is not None
    name = either.candidate.name
    if new is None:
        return Comparison(name, None, Verdict.lost)
    if new.error:
        return Comparison(name, None, Verdict.failed, new.error)
    if old is None or old.error:
        return Comparison(name, None, Verdict.added, (old and old.error) or "")
    ratio = unpaired_ratio(new.samples, old.samples)
    if ratio is None:
        return Comparison(name, None, Verdict.unclear, "too few rounds for an interval")
    ratio = _covering(widened(ratio, noise), machine)
    remarks = list(_differences(old, new))
    if machine is not None and abs(machine - 1) > 0.02:
        word = "slower" if machine > 1 else "faster"
        remarks.append(f"the machine itself was {max(machine, 1 / machine):.2f} times {word}")
    return Comparison(name, ratio, judge(ratio, fail_above), "; ".join(remarks))


def _covering(ratio: Estimate, machine: float | None) -> Estimate:
    """Widen the interval to cover the ratio with and without the change in machine speed."""
    if machine is None:
        return ratio
    low, high = ratio.interval.low, ratio.interval.high
    return Estimate(ratio.value, Interval(min(low, low / machine), max(high, high / machine)))


def _machine_ratio(old: Limits | None, new: Limits | None) -> float | None:
    """Return how many times slower the machine's matmuls were in the new run."""
    if old is None or new is None or old.threads != new.threads:
        return None
    if (not old.product) != (not new.product):  # older versions measured a slower matmul
        return None
    return median(old.macs_per_second) / median(new.macs_per_second)


def _key(candidate: Candidate) -> tuple[object, ...]:
    configuration = candidate.configuration
    return candidate.name, candidate.target, configuration.batch, configuration.streams


def _differences(old: Measurement, new: Measurement) -> list[str]:
    """Return differences between both measurements other than the file."""
    return [
        f"{name} {before} then, {after} now"
        for name, before, after in (
            ("threads", old.candidate.configuration.threads, new.candidate.configuration.threads),
            (
                "precision",
                old.candidate.configuration.precision,
                new.candidate.configuration.precision,
            ),
            ("version", old.runtime.get("version"), new.runtime.get("version")),
        )
        if before != after
    ]


def _machine(run: Run) -> str:
    return run.machine.get("processor", "an unknown processor")


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


def failed(comparisons: Sequence[Comparison]) -> bool:
    """Return whether a gate must fail: a candidate is worse, failed or is missing."""
    return any(
        each.verdict in (Verdict.worse, Verdict.failed, Verdict.lost) for each in comparisons
    )


def nothing_compared(comparisons: Sequence[Comparison]) -> bool:
    """Return whether nothing could be compared: there is no ratio, and nothing failed."""
    return not failed(comparisons) and all(each.ratio is None for each in comparisons)
