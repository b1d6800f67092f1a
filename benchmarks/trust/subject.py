"""The measured files, durations, and the vendor's tool for each file."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import Candidate, Configuration
from benchmarks.trust.vendors import VENDORS, Tool
from slide_deploy.errors import InputError

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
