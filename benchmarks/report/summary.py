"""Runs as plain rows and series, the common input of all output formats.

    Run, Run, … -> Section (a machine) > RunView > CandidateRow (a candidate)

Times are seconds. Unknown figures are `Missing`, which contains the reason. Names and errors are as
recorded. Each output format escapes them in its own way.
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

# By name, because the code of a custom target in a result must not run for a table.
_ON_THE_PROCESSOR = frozenset(target.name for target in TARGETS if target.processor)

# Facts that can serve as the name of a machine, the most specific first.
_TITLES = ("model", "processor", "cpu", "chip", "device", "name", "system")


@dataclass(frozen=True)
class Missing:
    """An unknown figure, with the reason."""

    reason: str


@dataclass(frozen=True)
class CandidateRow:
    """One candidate.

    Attributes:
        number: Number from 1, in the order of the request.
        measurement: The recorded measurement.
        warnings: Sentences on why its figures may mislead.
        samples: Seconds per call, in the order of measuring.
        median, p90, p99: Seconds per call.
        ratio: Its time per image / that of the run's baseline. Above 1 it is slower.
        baseline: Whether the others are compared with it.
        throughput: Images per second over all streams.
        cold: Seconds until the first output.
        peak: Bytes of resident memory.
        share: Share of the machine's peak rates.
        rounds: Median of each round over the time of the run.
        sustained: The long run without rests.
        operators: The profile; None without one.
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
        """Images per call."""
        return self.measurement.candidate.configuration.images

    @property
    def streams(self) -> int:
        """Number of concurrent calls."""
        return self.measurement.candidate.configuration.streams


@dataclass(frozen=True)
class Group:
    """Candidates with comparable latency: the same target, batch and number of streams."""

    target: str
    batch: int
    streams: int
    rows: tuple[CandidateRow, ...]

    @property
    def label(self) -> str:
        """The target, and the batch and streams unless they are 1."""
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
    def failed(self) -> tuple[CandidateRow, ...]:
        """Failed candidates, of which some have samples."""
        return tuple(row for row in self.rows if row.measurement.error)

    @property
    def baseline(self) -> CandidateRow | None:
        """Denominator of the ratios: the first candidate with samples."""
        return next((row for row in self.rows if row.baseline), None)


@dataclass(frozen=True)
class Section:
    """One machine with its runs."""

    title: str
    machine: dict[str, str]
    views: tuple[RunView, ...]


def summarise(runs: Sequence[Run]) -> tuple[Section, ...]:
    """Group runs by machine, in the order of each machine's first run."""
    first_seen = {_identity(run): index for index, run in reversed(list(enumerate(runs)))}
    ordered = sorted(runs, key=lambda run: first_seen[_identity(run)])
    return tuple(_section(tuple(group)) for _, group in groupby(ordered, key=_identity))


def _identity(run: Run) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(run.machine.items()))


def _section(runs: tuple[Run, ...]) -> Section:
    machine = runs[0].machine
    return Section(machine_title(machine), machine, tuple(_view(run) for run in runs))


def machine_title(machine: Mapping[str, str]) -> str:
    """Return the name of a machine from its facts."""
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
    processor = measurement.candidate.target in _ON_THE_PROCESSOR
    share = share_of_limit(measurement, run.limits, processor=processor)
    warning = warning_of(share, run.limits) if run.limits and isinstance(share, float) else None
    return CandidateRow(
        number=number,
        measurement=measurement,
        warnings=(*warnings_of(measurement), *([warning] if warning else [])),
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
        else _unknown(measurement, "the system does not report it"),
        share=_unknown(measurement, share) if isinstance(share, str) else share,
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
    # The number of rounds matters too: a tail from one round describes only that round.
    samples = "1 sample is" if calls == 1 else f"{calls:,} samples of {len(rounds)} rounds are"
    return Missing(f"{samples} too few")


def _ratio(measurement: Measurement, baseline: Measurement | None) -> Estimate | Missing:
    if not _samples(measurement) or baseline is None:
        return _unknown(measurement, "no call was measured")
    if measurement is baseline:
        return Missing("the others are compared with it")
    ours, theirs = measurement.candidate.configuration, baseline.candidate.configuration
    if ours.streams != theirs.streams:
        return Missing("it has another number of streams than the first: compare throughput")
    estimate = paired_ratio(measurement.samples_per_image, baseline.samples_per_image)
    return estimate or Missing("too few rounds for a ratio")


def _throughput(measurement: Measurement) -> float | Missing:
    seconds = sum(item.seconds for item in measurement.rounds)
    calls = len(_samples(measurement)) * measurement.repetitions
    if not calls or not seconds:
        return _unknown(measurement, "no call was measured")
    return calls * measurement.candidate.configuration.images / seconds


def typical(row: CandidateRow) -> float | None:
    """Return the median of all samples, however few; None without samples."""
    return median(row.samples) if row.samples else None
