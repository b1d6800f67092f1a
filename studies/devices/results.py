"""Reads result files of a folder, and checks them before the documentation shows them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.record import Measurement, Proof, Run
from benchmarks.result import read
from slide_deploy.errors import InputError
from slide_deploy.precisions import FLOAT32_LIMIT, Limit, known_precisions

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Results stay in the repository. A minute of measuring is far smaller.
_MOST_BYTES = 2**20
# Fewer rounds give no interval.
_LEAST_ROUNDS = 6


def read_all(folder: Path) -> dict[str, Run]:
    """Read every result of a folder, by file name without suffix, in the order of names.

    Raises:
        InputError: A file is not a result, or its figures may not be shown.
    """
    paths = sorted(folder.glob("*.json"))
    for path in paths:
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is larger than 1 MB: measure with fewer --seconds.")
    found = {path.stem: read(path) for path in paths}
    faults = [f"{name}.json {fault}" for name, run in found.items() for fault in faults_of(run)]
    if faults:
        raise InputError(f"{folder / faults[0]}.")
    _refuse_unlike(found)
    return found


def faults_of(run: Run) -> Iterator[str]:
    """Yield a clause on each reason why the figures of a run may not be shown."""
    if run.interrupted:
        yield "was interrupted: measure again to the end"
    for each in run.measurements:
        name = each.candidate.name
        if each.error:
            yield f"has no samples of {name} ({each.error}): remove it and measure again"
        elif each.proof is None:
            yield (
                f"does not verify {name}: keep the .reference.safetensors beside the file and "
                f"measure again"
            )
        elif not each.proof.within(allowed := _allowed(each, each.proof)):
            yield (
                f"shows an error of {name} above the limit of its precision "
                f"({allowed.relative:g} and {allowed.snr_db:g} dB): export the file again"
            )
        elif each.artifact is None or not _SHA256.fullmatch(each.artifact.sha256):
            yield f"does not identify the file of {name}: measure it with slide-deploy bench"
        elif len(each.rounds) < _LEAST_ROUNDS:
            yield f"has too few rounds of {name}: measure {_LEAST_ROUNDS} or more"


def _allowed(measurement: Measurement, proof: Proof) -> Limit:
    """Return the loosest limit of float32, the file's precision and the compute precision."""
    computed = measurement.runtime.get("precision", measurement.candidate.configuration.precision)
    limit = FLOAT32_LIMIT
    for precision in known_precisions():
        if precision.name in (computed, proof.precision):
            limit = limit.looser(precision.limit)
    return limit


def _refuse_unlike(found: Mapping[str, Run]) -> None:
    """Raise an error if different files have the same name."""
    known: dict[str, tuple[str, str]] = {}
    for sent, run in found.items():
        for each in run.measurements:
            assert each.artifact is not None
            name, digest = each.artifact.name, each.artifact.sha256
            first, wanted = known.setdefault(name, (sent, digest))
            if digest != wanted:
                raise InputError(
                    f"{sent}.json and {first}.json measured different files named {name}: "
                    f"measure the earlier file, or rename the new one."
                )
