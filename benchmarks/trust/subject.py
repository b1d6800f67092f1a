"""What is measured, for how long, and who else can measure it."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import Candidate, Configuration
from benchmarks.trust.vendors import VENDORS, Vendor
from slide_deploy.errors import InputError

# As much as `bench` gives a candidate in a round, by default: 10 s in 20 rounds.
SLICE = 0.5


@dataclass(frozen=True)
class TrustSettings:
    """How long everything takes.

    Attributes:
        runs: races of each kind.
        rounds: of each race.
        seconds: of measuring each candidate of a race.
        comparisons: with each vendor's tool.
        vendor_seconds: of measuring each side of a comparison.
        configuration: of all candidates; the vendors' tools are told to do the same.
    """

    runs: int
    rounds: int
    seconds: float
    comparisons: int
    vendor_seconds: float
    configuration: Configuration


@dataclass(frozen=True)
class TrustSubject:
    """A file, the target that runs it, and that runtime's other way to be timed."""

    path: Path
    target: str
    vendor: Vendor

    def candidate(
        self, configuration: Configuration, name: str = "ours", extra_work: float = 0.0
    ) -> Candidate:
        """The file as the race takes it."""
        return Candidate(name, str(self.path), self.target, configuration, extra_work)


def subject(path: Path) -> TrustSubject:
    """The subject that a file makes, by its kind.

    Raises:
        InputError: if it is missing, or there is nobody else to time it.
    """
    if path.suffix not in VENDORS:
        raise InputError(f"{path} cannot be timed twice: give files that end in .onnx or .xml.")
    if not path.is_file():
        raise InputError(f"{path} does not exist: export it first.")
    target, vendor = VENDORS[path.suffix]
    return TrustSubject(path, target, vendor)
