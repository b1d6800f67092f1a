"""Result files of a folder, each held to what a figure of the documentation needs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.record import Measurement, Proof, Run
from benchmarks.result import read
from slide_deploy.errors import InputError
from slide_deploy.precisions import FLOAT32_LIMIT, Limit, known_precisions

_SHA256 = re.compile(r"[0-9a-f]{64}")
# They are kept in the repository for good: a minute of measuring is far less.
_MOST_BYTES = 2**20
# Below that an interval cannot be told.
_LEAST_ROUNDS = 6


@dataclass(frozen=True)
class Sent:
    """A result that may be shown.

    Attributes:
        name: of the file, without its suffix.
        run: what it holds.
    """

    name: str
    run: Run

    @property
    def milliseconds(self) -> Iterator[tuple[Measurement, float]]:
        """Each measurement with its median."""
        for each in self.run.measurements:
            yield each, median(each.pooled_samples) / 1e6


def read_all(folder: Path) -> tuple[Sent, ...]:
    """Every result of a folder, by name.

    Raises:
        InputError: if a file is no result, or one that may not be shown; the text says why.
    """
    paths = sorted(folder.glob("*.json"))
    for path in paths:
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is larger than 1 MB: measure with fewer --seconds.")
    found = [Sent(path.stem, read(path)) for path in paths]
    faults = [f"{each.name}.json {fault}" for each in found for fault in faults_of(each.run)]
    if faults:
        raise InputError(f"{folder / faults[0]}.")
    _refuse_unlike(found)
    return tuple(found)


def faults_of(run: Run) -> Iterator[str]:
    """Why the figures of a run may not be shown, a clause each."""
    if run.interrupted:
        yield "was interrupted: measure again to the end"
    for each in run.measurements:
        name = each.candidate.name
        if each.error:
            yield f"has no figure of {name} ({each.error}): leave it out and measure again"
        elif each.proof is None:
            yield (
                f"does not prove {name}: keep the .reference.safetensors beside the file and "
                f"measure again"
            )
        elif not each.proof.within(allowed := _allowed(each, each.proof)):
            yield (
                f"shows an error of {name} above the limit of its precision "
                f"({allowed.relative:g} and {allowed.snr_db:g} dB): export the file again"
            )
        elif each.artifact is None or not _SHA256.fullmatch(each.artifact.sha256):
            yield f"does not say which file {name} is: measure it with slide-deploy bench"
        elif len(each.rounds) < _LEAST_ROUNDS:
            yield f"has too few rounds of {name}: measure {_LEAST_ROUNDS} or more"


def _allowed(measurement: Measurement, proof: Proof) -> Limit:
    """The looser limit of the file's precision and of the arithmetic's; else that of float32."""
    computed = measurement.runtime.get("precision", measurement.candidate.configuration.precision)
    limit = FLOAT32_LIMIT
    for precision in known_precisions():
        if precision.name in (computed, proof.precision):
            limit = limit.looser(precision.limit)
    return limit


def _refuse_unlike(found: Sequence[Sent]) -> None:
    """Files of one name must be one file, or their figures are of different things."""
    known: dict[str, tuple[str, str]] = {}
    for sent in found:
        for each in sent.run.measurements:
            assert each.artifact is not None
            name, digest = each.artifact.name, each.artifact.sha256
            first, wanted = known.setdefault(name, (sent.name, digest))
            if digest != wanted:
                raise InputError(
                    f"{sent.name}.json and {first}.json measured different files called {name}: "
                    f"measure the file that is there, or give the new one another name."
                )
