"""Runs as plain rows and series, which the page and the Markdown form both show.

    Run, Run, … -> BenchmarkReport > Section (a machine) > RunView > CandidateRow (a candidate)

Times are seconds. What is not known is `Missing` and carries its reason, so that no form has to
invent one. Names and errors are as recorded: each form escapes them in its own way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from benchmarks.efficiency import share_of_limit, warning_of
from benchmarks.record import Measurement, Run
from benchmarks.report.series import OperatorBars, Point, operator_bars, round_medians, sustained
from benchmarks.statistics import Estimate, paired_ratio, percentile
from benchmarks.warnings import warnings_of
from slide_deploy.backends.registry import TARGETS

# By name: a result may speak of a target of somebody's own, whose code is not run for a table.
_ON_THE_PROCESSOR = frozenset(target.name for target in TARGETS if target.processor)

# What a machine calls itself, the most telling first.
_TITLES = ("model", "processor", "cpu", "chip", "device", "name", "system")


@dataclass(frozen=True)
class Missing:
    """A figure that is not known, and why."""

    reason: str


@dataclass(frozen=True)
class CandidateRow:
    """One candidate.

    Attributes:
        number: from 1, in the order in which the candidates were named.
        measurement: what was recorded.
        warnings: sentences on what makes its figures less trustworthy.
        samples: seconds a call, in the order of the measuring.
        median, p90, p99: seconds a call.
        ratio: of its time an image to that of the run's baseline; above 1 it is slower.
        baseline: whether it is what the others are compared with.
        throughput: images a second over all streams.
        cold: seconds until the first answer.
        peak: bytes of resident memory.
        share: of what the machine's limits allow.
        rounds: median of each round, over the run's time.
        sustained: the long go without rests.
        operators: the profile; None without one.
    """

    number: int
    measurement: Measurement
    warnings: tuple[str, ...]
    samples: tuple[float, ...]
    median: Estimate | Missing
    p90: Estimate | Missing
    p99: Estimate | Missing
    ratio: Estimate | Missing
    baseline: bool
    throughput: float | Missing
    cold: float | Missing
    peak: int | Missing
    share: float | Missing
    rounds: tuple[Point, ...]
    sustained: tuple[Point, ...]
    operators: OperatorBars | None

    @property
    def name(self) -> str:
        """The candidate's name, as recorded."""
        return self.measurement.candidate.name

    @property
    def batch(self) -> int:
        """Images of one call."""
        return self.measurement.candidate.configuration.images

    @property
    def streams(self) -> int:
        """Calls in flight at a time."""
        return self.measurement.candidate.configuration.streams


@dataclass(frozen=True)
class Group:
    """Candidates whose latency can be compared: one target, batch and number of streams."""

    target: str
    batch: int
    streams: int
    rows: tuple[CandidateRow, ...]

    @property
    def label(self) -> str:
        """The target, and what of the rest is unusual."""
        parts = [self.target]
        if self.batch > 1:
            parts.append(f"batch {self.batch}")
        if self.streams > 1:
            parts.append(f"{self.streams} streams")
        return ", ".join(parts)


@dataclass(frozen=True)
class RunView:
    """One run."""

    run: Run
    rows: tuple[CandidateRow, ...]
    groups: tuple[Group, ...]

    @property
    def measured(self) -> tuple[CandidateRow, ...]:
        """Candidates that have at least one sample."""
        return tuple(row for row in self.rows if row.samples)

    @property
    def failed(self) -> tuple[CandidateRow, ...]:
        """Candidates that ended early; some have samples all the same."""
        return tuple(row for row in self.rows if row.measurement.error)

    @property
    def baseline(self) -> CandidateRow | None:
        """What ratios are taken to: the first candidate that has samples."""
        return next((row for row in self.rows if row.baseline), None)


@dataclass(frozen=True)
class Section:
    """One machine with its runs."""

    title: str
    machine: dict[str, str]
    views: tuple[RunView, ...]


@dataclass(frozen=True)
class BenchmarkReport:
    """All that is shown."""

    sections: tuple[Section, ...]


def summarise(runs: Sequence[Run]) -> BenchmarkReport:
    """Gather runs by machine, in the order in which the machines come first."""
    first_seen = {_identity(run): index for index, run in reversed(list(enumerate(runs)))}
    ordered = sorted(runs, key=lambda run: first_seen[_identity(run)])
    return BenchmarkReport(
        tuple(_section(tuple(group)) for _, group in groupby(ordered, key=_identity)),
    )


def _identity(run: Run) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(run.machine.items()))


def _section(runs: tuple[Run, ...]) -> Section:
    machine = runs[0].machine
    return Section(machine_title(machine), machine, tuple(_view(run) for run in runs))


def machine_title(machine: Mapping[str, str]) -> str:
    """What a machine is called, by what it says of itself."""
    return next((machine[key] for key in _TITLES if machine.get(key)), "Unknown machine")


def _view(run: Run) -> RunView:
    baseline = next((item for item in run.measurements if _samples(item)), None)
    rows = tuple(
        _row(number, measurement, baseline, run)
        for number, measurement in enumerate(run.measurements, 1)
    )
    members: dict[tuple[str, int, int], list[CandidateRow]] = {}
    for row in rows:
        key = (row.measurement.candidate.target, row.batch, row.streams)
        members.setdefault(key, []).append(row)
    groups = tuple(Group(*key, rows=tuple(held)) for key, held in members.items())
    return RunView(run, rows, groups)


def _row(
    number: int, measurement: Measurement, baseline: Measurement | None, run: Run
) -> CandidateRow:
    memory, cold = measurement.memory, measurement.cold
    share = _share(measurement, run)
    return CandidateRow(
        number=number,
        measurement=measurement,
        warnings=(*warnings_of(measurement), *_warning_of_limit(share, run)),
        samples=_samples(measurement),
        median=_percentile(measurement, 0.5),
        p90=_percentile(measurement, 0.9),
        p99=_percentile(measurement, 0.99),
        ratio=_ratio(measurement, baseline),
        baseline=measurement is baseline,
        throughput=_throughput(measurement),
        cold=sum(cold.stages.values()) if cold else _unknown(measurement, "it was not measured"),
        peak=memory.peak
        if memory and memory.peak is not None
        else _unknown(measurement, "the system does not tell"),
        share=share,
        rounds=round_medians(measurement),
        sustained=sustained(measurement),
        operators=operator_bars(measurement.operators),
    )


def _samples(measurement: Measurement) -> tuple[float, ...]:
    return tuple(sample / 1e9 for sample in measurement.pooled_samples)


def _unknown(measurement: Measurement, reason: str) -> Missing:
    return Missing("it failed" if measurement.error else reason)


def _percentile(measurement: Measurement, share: float) -> Estimate | Missing:
    rounds = [[sample / 1e9 for sample in samples] for samples in measurement.samples]
    calls = sum(map(len, rounds))
    estimate = percentile(rounds, share) if calls else None
    if estimate is not None:
        return estimate
    if not calls:
        return _unknown(measurement, "no call was measured")
    # Not the number of calls alone: a tail that one round holds tells of that round.
    samples = "1 sample does" if calls == 1 else f"{calls:,} samples of {len(rounds)} rounds do"
    return Missing(f"{samples} not support it")


def _ratio(measurement: Measurement, baseline: Measurement | None) -> Estimate | Missing:
    if not _samples(measurement) or baseline is None:
        return _unknown(measurement, "no call was measured")
    if measurement is baseline:
        return Missing("it is what the others are compared with")
    ours, theirs = measurement.candidate.configuration, baseline.candidate.configuration
    if ours.streams != theirs.streams:
        return Missing("it runs another number of streams than the first: compare throughput")
    estimate = paired_ratio(measurement.samples_per_image, baseline.samples_per_image)
    return estimate or Missing("too few rounds for a ratio")


def _throughput(measurement: Measurement) -> float | Missing:
    seconds = sum(item.seconds for item in measurement.rounds)
    calls = len(_samples(measurement)) * measurement.repetitions
    if not calls or not seconds:
        return _unknown(measurement, "no call was measured")
    return calls * measurement.candidate.configuration.images / seconds


def _share(measurement: Measurement, run: Run) -> float | Missing:
    if measurement.error or not _samples(measurement):
        return _unknown(measurement, "no call was measured")
    processor = measurement.candidate.target in _ON_THE_PROCESSOR
    share = share_of_limit(measurement, run.limits, processor=processor)
    if share is not None:
        return share
    if run.limits is None:
        return Missing("the machine's limits were not measured")
    if not processor:
        return Missing("the limits are those of the processor")
    configuration = measurement.candidate.configuration
    threads = configuration.threads * configuration.streams
    if threads != run.limits.threads or configuration.precision != "float32":
        word = "thread" if run.limits.threads == 1 else "threads"
        return Missing(f"the limits are of {run.limits.threads} {word} in float32")
    return Missing("its work is not known")


def _warning_of_limit(share: float | Missing, run: Run) -> tuple[str, ...]:
    if isinstance(share, Missing) or run.limits is None:
        return ()
    warning = warning_of(share, run.limits)
    return () if warning is None else (warning,)


def typical(row: CandidateRow) -> float | None:
    """The median of all samples, however few; None without any."""
    return median(row.samples) if row.samples else None
