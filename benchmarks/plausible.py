"""Checks of a run beyond the types of its fields.

A result file may come from an untrusted source or a broken disk. This module refuses figures that
no machine produces, so that statistics and reports need no checks of their own.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from benchmarks.record import Artifact, Run
from slide_deploy.graph_checks.readers.limits import short

# No device reaches 10^18 bytes, parameters, multiply-accumulates or operations per second.
_COUNT, _SHARE, _SECONDS = (0, 10**18), (0, 1), (0, 1e9)
_SIZE, _DIMENSION = (1, 2**31 - 1), (0, 2**31 - 1)
_RATE = (math.ulp(0.0), 10**18)
# Lowest and highest value of every number in the fields of these names.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("size", "macs", "parameters", "traffic", "calls"), _COUNT),
    **dict.fromkeys(("imported", "loaded", "peak"), _COUNT),
    **dict.fromkeys(("accuracy", "published_accuracy", "accuracy_interval"), _SHARE),
    **dict.fromkeys(("seconds", "start", "stages", "extra_work"), _SECONDS),
    **dict.fromkeys(("threads", "batch", "streams", "cases"), _SIZE),
    **dict.fromkeys(("shape", "shapes"), _DIMENSION),
    **dict.fromkeys(("macs_per_second", "bytes_per_second", "cache"), _RATE),
    "noise": (1, 1000),
    "repetitions": (1, 10**18),
    "relative": (0, math.inf),
    # Nanoseconds: eleven days. A call of 0 ns means that the clock is too coarse.
    "nanoseconds": (0, 10**15),
    "samples": (1, 10**15),
}
_MAX_SAMPLES = 20_000_000
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
    if run.limits is not None and not _PRODUCT.fullmatch(run.limits.product):
        yield f"limits.product: {short(run.limits.product, 40)} is not a name of a matmul"
    names = Counter(measurement.candidate.name for measurement in run.measurements)
    yield from (f"two candidates are called {short(name)}" for name in names if names[name] > 1)
    rounds = [taken for each in run.measurements for taken in (*each.rounds, *each.sustained)]
    if sum(len(taken.samples) for taken in rounds) > _MAX_SAMPLES:
        yield f"it holds more than {_MAX_SAMPLES:,} samples"
    yield from _out_of_range("", "", run)
    for index, measurement in enumerate(run.measurements):
        if measurement.artifact is not None and not _is_consistent(measurement.artifact):
            yield f"measurements.{index}.artifact.accuracy_interval: it lacks the accuracy"


def _out_of_range(path: str, field: str, value: Any) -> Iterator[str]:
    """Yield a clause on each number, in a field at a path, that is out of range."""
    if is_dataclass(value):
        for each in fields(value):
            yield from _out_of_range(f"{path}.{each.name}", each.name, getattr(value, each.name))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _out_of_range(f"{path}.{short(str(key), 30)}", field, inner)
    elif isinstance(value, tuple) and value and isinstance(value[0], int | float):
        yield from _out_of_range(path, field, min(value))
        yield from _out_of_range(path, field, max(value))
    elif isinstance(value, tuple):
        for index, inner in enumerate(value):
            yield from _out_of_range(f"{path}.{index}", field, inner)
    elif isinstance(value, int | float) and field in _RANGES:
        low, high = _RANGES[field]
        if not low <= value <= high:
            yield f"{path.removeprefix('.')}: {short(str(value), 30)} is out of range"


def _is_consistent(artifact: Artifact) -> bool:
    """Return whether the interval of the accuracy contains it. No interval contains all."""
    if artifact.accuracy_interval is None:
        return True
    low, high = artifact.accuracy_interval
    return artifact.accuracy is not None and low <= artifact.accuracy <= high
