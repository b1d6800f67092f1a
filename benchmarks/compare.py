"""Two runs of the same candidates: better, worse, or nobody can tell.

Each ratio is new over old, with the 95 % interval of both sides' own rounds. Two things are not in
those rounds, and widen it: the noise between equal candidates, where a run was calibrated; and what
the machine itself did between the runs, where both measured its rates: the interval then holds the
ratio as it is and the ratio that is left when the machine's part is taken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from benchmarks.record import Candidate, Limits, Measurement, Run
from benchmarks.statistics import Estimate, Interval, unpaired_ratio, widened
from slide_deploy.errors import InputError
from slide_deploy.machine import fingerprint


class Verdict(StrEnum):
    """What a ratio's interval says of a limit."""

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
        name: of the candidate.
        ratio: new over old; None if one side has too few rounds.
        verdict: on it.
        remark: what else a reader must know; empty if nothing.
    """

    name: str
    ratio: Estimate | None
    verdict: Verdict
    remark: str = ""


def judge(ratio: Estimate, fail_above: float) -> Verdict:
    """What is certain of a ratio.

    Args:
        ratio: new over old.
        fail_above: share by which new may be slower, 0.05 for 5 %.

    Returns:
        worse if all of the interval lies above 1 + ``fail_above``; better if all of it lies below
        1 / (1 + ``fail_above``); same if all of it lies between; else it cannot be told.
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
    """Hold a run against an earlier one, candidate by candidate.

    Args:
        old: the earlier run.
        new: the later one.
        fail_above: share by which new may be slower.
        across_machines: compare although the runs come from different machines.

    Returns:
        One for each candidate of either run, the old run's first.

    Raises:
        InputError: if the machines differ, without ``across_machines``, or no candidate is in both.
    """
    if fingerprint(old.machine) != fingerprint(new.machine) and not across_machines:
        raise InputError(
            f"The runs come from different machines ({_machine(old)}; {_machine(new)}): measure "
            f"both on one, or give --across-machines."
        )
    before = {_key(each.candidate): each for each in old.measurements}
    after = {_key(each.candidate): each for each in new.measurements}
    if not before.keys() & after.keys():
        raise InputError(
            "The runs have no candidate in common: names, targets and batch sizes must agree."
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
    ratio = _holding(widened(ratio, noise), machine)
    remarks = list(_differences(old, new))
    if machine is not None and abs(machine - 1) > 0.02:
        word = "slower" if machine > 1 else "faster"
        remarks.append(f"the machine itself was {max(machine, 1 / machine):.2f} times {word}")
    return Comparison(name, ratio, judge(ratio, fail_above), "; ".join(remarks))


def _holding(ratio: Estimate, machine: float | None) -> Estimate:
    """The interval as it is and as it would be on a machine that had kept its speed."""
    if machine is None:
        return ratio
    low, high = ratio.interval.low, ratio.interval.high
    return Estimate(ratio.value, Interval(min(low, low / machine), max(high, high / machine)))


def _machine_ratio(old: Limits | None, new: Limits | None) -> float | None:
    """How many times slower the machine was in the new run, by its matrix products."""
    if old is None or new is None or old.threads != new.threads:
        return None
    if (not old.product) != (not new.product):  # the slower product of an older version
        return None
    return median(old.macs_per_second) / median(new.macs_per_second)


def _key(candidate: Candidate) -> tuple[object, ...]:
    configuration = candidate.configuration
    return candidate.name, candidate.target, configuration.batch, configuration.streams


def _differences(old: Measurement, new: Measurement) -> list[str]:
    """What was not the same on both sides, beside the file."""
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


def failed(comparisons: Sequence[Comparison]) -> bool:
    """Whether a gate must say no: something is worse, or cannot be measured any more."""
    return any(
        each.verdict in (Verdict.worse, Verdict.failed, Verdict.lost) for each in comparisons
    )


def nothing_compared(comparisons: Sequence[Comparison]) -> bool:
    """Whether a gate has nothing to say yes to: no ratio, and nothing that failed either."""
    return not failed(comparisons) and all(each.ratio is None for each in comparisons)
