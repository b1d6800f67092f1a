"""Runs the races and comparisons. Only one process computes at a time.

Kinds and targets take turns, so that changes in the machine's speed affect all of them equally.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.compare import Comparison, gate
from benchmarks.measuring.race import REST, OnStep, RacePlan, race
from benchmarks.record import Candidate, Configuration, Measurement, Run
from slide_deploy.errors import InputError
from studies.trust.outcomes import EXTRA_WORK, FAIL_ABOVE, Findings, LoopAgreement, Series
from studies.trust.vendors import VENDORS, Tool

# Seconds of a candidate in a round. By default, `bench` measures 10 s in 20 rounds.
SLICE = 0.5


@dataclass(frozen=True)
class TrustSettings:
    """Numbers and durations of all trials.

    Attributes:
        runs: Number of races of each kind.
        rounds: Rounds per race.
        seconds: Measuring time of each candidate in a race.
        comparisons: Number of pairs with each vendor's tool.
        vendor_seconds: Measuring time of each side of a pair.
        configuration: Configuration of all candidates. The vendors' tools use equal settings.
    """

    runs: int
    rounds: int
    seconds: float
    comparisons: int
    vendor_seconds: float
    configuration: Configuration


@dataclass(frozen=True)
class TrustSubject:
    """A file, its target, and the name and function of the vendor's tool that can time it too."""

    path: Path
    target: str
    vendor: str
    tool: Tool

    def candidate(
        self, configuration: Configuration, name: str = "ours", extra_work: float = 0.0
    ) -> Candidate:
        """Return the file as a candidate of a race."""
        return Candidate(name, str(self.path), self.target, configuration, extra_work)


def subject(path: Path) -> TrustSubject:
    """Return the subject for a file, by its suffix.

    Raises:
        InputError: The file is missing, or no vendor's tool can time it.
    """
    if path.suffix not in VENDORS:
        raise InputError(f"No vendor's tool can time {path}: give files that end in .onnx or .xml.")
    if not path.is_file():
        raise InputError(f"{path} does not exist: export it first.")
    return TrustSubject(path, *VENDORS[path.suffix])


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
