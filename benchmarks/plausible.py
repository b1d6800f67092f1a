"""Checks of a run beyond the types of its fields.

A result file may come from an untrusted source or a broken disk. This module refuses figures that
no machine produces, so that statistics and reports need no checks of their own.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from benchmarks.record import Limits, Measurement, Round, Run
from slide_deploy.graph_checks.readers.limits import short

# Nanoseconds of one call: eleven days.
_LONGEST_CALL = 10**15
_LONGEST_SECONDS = 1e9
# Bytes, parameters, multiply-accumulates, operations per second: no device reaches 10^18.
_LARGEST_COUNT = 10**18
_MAX_SAMPLES = 20_000_000
_MAX_DIMENSION = 2**31 - 1
# The text that `measuring.limits` writes. Reports print it inside sentences.
_PRODUCT = re.compile(r"[\w ,.]{0,60}", re.ASCII)


def implausible(run: Run) -> str | None:
    """Return a clause on the first impossible figure, or None if there is none."""
    return next(_faults(run), None)


def _faults(run: Run) -> Iterator[str]:
    try:
        datetime.fromisoformat(run.started)
    except ValueError:
        yield f"started: {short(run.started, 40)} is not an ISO 8601 time"
    if not 0 <= run.seconds <= _LONGEST_SECONDS:
        yield f"seconds: {run.seconds:g} is out of range"
    if run.noise is not None and not 1 <= run.noise <= 1000:
        yield f"noise: {run.noise:g} is not a ratio of 1 or more"
    yield from _of_limits(run.limits)
    names = Counter(measurement.candidate.name for measurement in run.measurements)
    yield from (f"two candidates are called {short(name)}" for name in names if names[name] > 1)
    for index, measurement in enumerate(run.measurements):
        for fault in _of_measurement(measurement):
            yield f"measurements.{index}.{fault}"
    if sum(_samples(measurement) for measurement in run.measurements) > _MAX_SAMPLES:
        yield f"it holds more than {_MAX_SAMPLES:,} samples"


def _samples(measurement: Measurement) -> int:
    rounds = (*measurement.rounds, *measurement.sustained)
    return sum(len(item.samples) for item in rounds)


def _of_limits(limits: Limits | None) -> Iterator[str]:
    if limits is None:
        return
    if not 1 <= limits.threads <= _MAX_DIMENSION:
        yield f"limits.threads: {_shown(limits.threads)} is out of range"
    if not _PRODUCT.fullmatch(limits.product):
        yield f"limits.product: {short(limits.product, 40)} is not a name of a matmul"
    if limits.cache is not None and not 0 < limits.cache <= _LARGEST_COUNT:
        yield f"limits.cache: {_shown(limits.cache)} is out of range"
    for name in ("macs_per_second", "bytes_per_second"):
        for rate in getattr(limits, name):
            if not 0 < rate <= _LARGEST_COUNT:
                yield f"limits.{name}: {rate:g} is out of range"


def _of_measurement(measurement: Measurement) -> Iterator[str]:
    configuration = measurement.candidate.configuration
    for name in ("threads", "batch", "streams"):
        value = getattr(configuration, name)
        if not 1 <= value <= _MAX_DIMENSION:
            yield f"candidate.configuration.{name}: {_shown(value)} is out of range"
    if not 0 <= measurement.candidate.extra_work <= _LONGEST_SECONDS:
        yield "candidate.extra_work: it is out of range"
    shapes = [*configuration.shapes.values(), *(item.shape for item in measurement.inputs)]
    if any(not 0 <= size <= _MAX_DIMENSION for shape in shapes for size in shape):
        yield "shapes: a size is out of range"
    if not 1 <= measurement.repetitions <= _LARGEST_COUNT:
        yield f"repetitions: {_shown(measurement.repetitions)} is out of range"
    proof = measurement.proof
    if proof is not None and not (0 < proof.cases <= _MAX_DIMENSION and proof.relative >= 0):
        yield "proof: its figures are out of range"
    yield from _of_counts(measurement)
    yield from _of_durations(measurement)
    for name in ("rounds", "sustained"):
        for item in getattr(measurement, name):
            yield from (f"{name}: {fault}" for fault in _of_round(item))


def _of_counts(measurement: Measurement) -> Iterator[str]:
    """Yield a clause on each size or count that is negative or beyond every device."""
    artifact, memory = measurement.artifact, measurement.memory
    counts: dict[str, int | None] = {}
    if artifact:
        counts |= {
            f"artifact.{name}": getattr(artifact, name)
            for name in ("size", "macs", "parameters", "traffic")
        }
        for name in ("accuracy", "published_accuracy"):
            share = getattr(artifact, name)
            if share is not None and not 0 <= share <= 1:
                yield f"artifact.{name}: {share:g} is not between 0 and 1"
        if not _contains(artifact.accuracy_interval, artifact.accuracy):
            yield "artifact.accuracy_interval: it does not contain the accuracy"
    if memory:
        counts |= {
            f"memory.{name}": getattr(memory, name) for name in ("imported", "loaded", "peak")
        }
    if measurement.warm_up:
        counts["warm_up.calls"] = measurement.warm_up.calls
    for name, count in counts.items():
        if count is not None and not 0 <= count <= _LARGEST_COUNT:
            yield f"{name}: {_shown(count)} is out of range"


def _contains(interval: tuple[float, float] | None, share: float | None) -> bool:
    """Return whether an interval within 0 to 1 contains the share. No interval contains all."""
    if interval is None:
        return True
    return share is not None and 0 <= interval[0] <= share <= interval[1] <= 1


def _of_durations(measurement: Measurement) -> Iterator[str]:
    stages = measurement.cold.stages if measurement.cold else {}
    seconds = {f"cold.{short(name, 30)}": value for name, value in stages.items()}
    if measurement.warm_up:
        seconds["warm_up.seconds"] = measurement.warm_up.seconds
    for name, value in seconds.items():
        if not 0 <= value <= _LONGEST_SECONDS:
            yield f"{name}: {value:g} is out of range"
    if any(not 0 <= item.nanoseconds <= _LONGEST_CALL for item in measurement.operators):
        yield "operators: a time is out of range"


def _of_round(item: Round) -> Iterator[str]:
    if not 0 <= item.start <= _LONGEST_SECONDS:
        yield f"start: {item.start:g} is out of range"
    if not 0 <= item.seconds <= _LONGEST_SECONDS:
        yield f"seconds: {item.seconds:g} is out of range"
    # A call of 0 ns means that the clock is too coarse, not that the model is fast.
    if any(not 0 < sample <= _LONGEST_CALL for sample in item.samples):
        yield "the time of a call is out of range"


def _shown(number: int) -> str:
    return short(str(number), 30)
