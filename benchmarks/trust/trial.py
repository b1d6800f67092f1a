"""Runs the races and comparisons. Only one process computes at a time.

Kinds and targets take turns, so that changes in the machine's speed affect all of them equally.
"""

import time
from collections.abc import Sequence
from statistics import median

from benchmarks.compare import Comparison
from benchmarks.gate import gate
from benchmarks.measuring.race import REST, OnStep, RacePlan, race
from benchmarks.record import Measurement, Run
from benchmarks.trust.outcomes import EXTRA_WORK, FAIL_ABOVE, Findings, LoopAgreement, Series
from benchmarks.trust.subject import SLICE, TrustSettings, TrustSubject
from slide_deploy.errors import InputError


def steps(subjects: Sequence[TrustSubject], settings: TrustSettings) -> int:
    """Return the number of calls of ``on_step`` in `examine`."""
    return len(subjects) * (2 * settings.runs + settings.comparisons)


def examine(
    subjects: Sequence[TrustSubject], settings: TrustSettings, on_step: OnStep = lambda _: None
) -> Findings:
    """Race every subject against itself, and compare it with its vendor's tool.

    Raises:
        InputError: A candidate or a tool failed. There are no findings.
        KeyboardInterrupt: The user ended the trials.
    """
    runtimes: dict[str, str] = {}  # the races fill it from their measurements
    series = _series(subjects, settings, on_step, runtimes)
    return Findings(series, _agreements(subjects, settings, on_step), runtimes)


def _series(
    subjects: Sequence[TrustSubject],
    settings: TrustSettings,
    on_step: OnStep,
    runtimes: dict[str, str],
) -> tuple[Series, ...]:
    kinds = [(subject, extra) for subject in subjects for extra in (0.0, EXTRA_WORK)]
    gated: list[list[Comparison]] = [[] for _ in kinds]
    for index in range(settings.runs):
        for (subject, extra), found in zip(kinds, gated, strict=True):
            second = f"a copy {extra:.0%} slower" if extra else "a copy"
            on_step(f"race {index + 1} of {settings.runs}: {subject.target} against {second}")
            run = _raced(_duel(subject, settings, extra, index))
            runtime = run.measurements[0].runtime
            runtimes[subject.target] = f"{runtime.get('library')} {runtime.get('version')}"
            found += gate(run, FAIL_ABOVE)
    return tuple(
        Series(subject.target, extra, tuple(found))
        for (subject, extra), found in zip(kinds, gated, strict=True)
    )


def _duel(subject: TrustSubject, settings: TrustSettings, extra: float, seed: int) -> RacePlan:
    first, second = (
        subject.candidate(settings.configuration, name, share)
        for name, share in (("first", 0.0), ("second", extra))
    )
    # A seed of its own, as the same order of turns in every race could bias the results.
    return RacePlan((first, second), seconds=settings.seconds, rounds=settings.rounds, seed=seed)


def _agreements(
    subjects: Sequence[TrustSubject], settings: TrustSettings, on_step: OnStep
) -> tuple[LoopAgreement, ...]:
    # This gets the input sizes of our targets for the tools, and loads the file into the cache.
    inputs = [_alone(subject, settings, SLICE).inputs for subject in subjects]
    pairs: list[list[tuple[float, float]]] = [[] for _ in subjects]
    seconds = settings.vendor_seconds
    for index in range(settings.comparisons):
        for subject, tensors, found in zip(subjects, inputs, pairs, strict=True):
            on_step(f"{subject.vendor}, {index + 1} of {settings.comparisons}")
            time.sleep(REST)
            given = (subject.path, tensors, settings.configuration, seconds)
            if index % 2:  # alternating order, as the first one runs on a rested machine
                theirs = subject.tool(*given)
                ours = _median(_alone(subject, settings, seconds))
            else:
                ours = _median(_alone(subject, settings, seconds))
                theirs = subject.tool(*given)
            found.append((ours, theirs))
    return tuple(
        LoopAgreement(subject.target, subject.vendor, *zip(*found, strict=True))
        for subject, found in zip(subjects, pairs, strict=True)
    )


def _alone(subject: TrustSubject, settings: TrustSettings, seconds: float) -> Measurement:
    """Run the benchmark with one candidate, whose process then ends."""
    rounds = max(1, round(seconds / SLICE))
    candidate = subject.candidate(settings.configuration)
    return _raced(RacePlan((candidate,), seconds=seconds, rounds=rounds)).measurements[0]


def _median(measurement: Measurement) -> float:
    return float(median(measurement.pooled_samples))


def _raced(plan: RacePlan) -> Run:
    run = race(plan)
    if run.interrupted:
        raise KeyboardInterrupt
    for each in run.measurements:
        if each.error:
            raise InputError(
                f"{each.candidate.path} failed on {each.candidate.target} ({each.error}): check it "
                f"with slide-deploy verify."
            )
    return run
