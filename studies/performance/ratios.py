"""Computes the ratios of `rows` from a run."""

from dataclasses import dataclass, replace

from benchmarks.candidates import candidate_name
from benchmarks.record import Measurement, Run
from benchmarks.statistics import Interval, paired_ratio
from slide_deploy.errors import InputError
from studies.performance.rows import RatioKind, RatioRow


@dataclass(frozen=True)
class Found:
    """The measured ratio of a row.

    Attributes:
        row: The row.
        value: The ratio; None if a candidate failed or has too few rounds.
        interval: Interval of the ratio; None for memory and size, which have no spread.
        limit: The ratio of a file that takes as long as its network's matmuls alone; None if
            matmuls are not most of the work or were not measured.
    """

    row: RatioRow
    value: float | None
    interval: Interval | None = None
    limit: float | None = None

    @property
    def verdict(self) -> str:
        """Comparison with the required ratio and the aim, in words."""
        if self.value is None:
            return "not measured"
        if self.row.least is None or self.row.aim is None:
            return ""
        if self.row.reached(self.value, self.row.aim):
            return "aim"
        return "reached" if self.row.reached(self.value, self.row.least) else "below"


def find(row: RatioRow, run: Run) -> Found:
    """Return the ratio of a row.

    Raises:
        InputError: The run lacks a candidate of the row.
    """
    ours = _measurement(run, row.ours, row, row.target)
    baseline = _measurement(run, row.baseline, row, row.baseline_target or row.target)
    over, under = (ours, baseline) if row.ours_on_top else (baseline, ours)
    if row.kind is RatioKind.memory:
        more, less = _activations(over), _activations(under)
        return Found(row, None if more is None or not less else more / less)
    if row.kind is RatioKind.size:
        most, least = over.artifact, under.artifact
        return Found(row, most.size / least.size if most and least and least.size else None)
    estimate = paired_ratio(over.samples, under.samples)
    if estimate is None:
        return Found(row, None)
    # The same ratio for the matmuls of the network alone.
    alone = replace(row, ours="matmuls", is_network=False) if row.is_network else None
    limit = None if alone is None else find(alone, run).value
    return Found(row, estimate.value, estimate.interval, limit)


def _measurement(run: Run, label: str, row: RatioRow, target: str) -> Measurement:
    for each in run.measurements:
        candidate = each.candidate
        if candidate.name == candidate_name(label, target, candidate.configuration):
            return each
    raise InputError(
        f"The run of {row.suite} has no candidate {label} on {target}: run its suite again."
    )


def _activations(measurement: Measurement) -> int | None:
    """Return the bytes that running adds: peak memory less memory with the loaded file."""
    memory = measurement.memory
    if memory is None or memory.peak is None or memory.loaded is None:
        return None
    return memory.peak - memory.loaded
