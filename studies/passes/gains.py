"""Computes the gain of each pass, and our speed against other tools, from races of files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.record import Run
from benchmarks.statistics import Estimate, Rounds
from slide_deploy.errors import InputError
from studies.passes.levels import LEAST_PROCESSES, Levels
from studies.passes.record import PLAIN, WrittenVariant
from studies.passes.variants import ALL, NONE, only, without

# The file with all passes in another process, which shows the difference between equal files.
AGAIN = "all again"
# The races of a network on a runtime.
LEFT_OUT, ALONE = "left out", "alone"
# Required speed relative to the file of another tool.
LEAST = 0.98
# A pass is kept if it makes some network faster by this factor.
PAYS = 1.01


@dataclass(frozen=True)
class Gain:
    """Gain of one pass for one network on one runtime.

    Attributes:
        name: Name of the pass.
        network: Name of the network.
        target: Target that runs it.
        changes: Number of places that it changes together with all passes or, if none, alone.
        left_out: Time without it / time with all passes; None if both files are equal.
        alone: Time without any pass / time with it alone; None if both files are equal.
        invalid: One sentence on why there is no file without it; empty if there is one.
    """

    name: str
    network: str
    target: str
    changes: int
    left_out: Estimate | None
    alone: Estimate | None
    invalid: str = ""


@dataclass(frozen=True)
class PassStanding:
    """Speed of a network's file with all passes on one runtime.

    Attributes:
        network: Name of the network.
        target: Target that runs it.
        plain_seconds: Median of the other tool's file.
        seconds: Median of our file.
        against_plain: Time of the other tool's file / time of ours.
        against_none: Time of ours without any pass / with all; None if there is no such file, or
            no pass changed anything.
        noise: Time of our file / time of the same file in another process.
    """

    network: str
    target: str
    plain_seconds: float
    seconds: float
    against_plain: Estimate
    against_none: Estimate | None
    noise: Estimate

    @property
    def verdict(self) -> str:
        """Comparison of the interval with the required speed, in words."""
        interval = self.against_plain.interval
        if interval.high < LEAST:
            return "slower"
        return "reached" if interval.low >= LEAST else "cannot tell"


def races(written: WrittenVariant) -> dict[str, dict[str, str]]:
    """Return the files of each race. One race of all would need too many processes at a time.

    Returns:
        By name of the race, the file of each candidate by its first variant.
    """
    left_out = _files(written, (ALL, PLAIN, NONE, *map(without, written.passes)))
    alone = _files(written, (NONE, *map(only, written.passes)))
    found = {LEFT_OUT: {**left_out, AGAIN: written.files[ALL]}}
    if NONE in alone and not set(alone.values()) <= set(left_out.values()):
        found[ALONE] = alone
    return found


def _files(written: WrittenVariant, names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        file = written.files.get(name)
        if file is not None and file not in found.values():
            found[name] = file
    return found


def standing(written: WrittenVariant, runs: Mapping[str, Sequence[Run]]) -> PassStanding:
    """Return the speed of the file with all passes.

    Args:
        written: The files.
        runs: Runs of each race by its name. Each run has processes of its own.

    Raises:
        InputError: A file failed, or was raced too few times.
    """
    race = _Races(written, runs)
    return PassStanding(
        written.network,
        written.target,
        race.seconds(PLAIN),
        race.seconds(ALL),
        race.ratio(PLAIN, ALL),
        race.difference(NONE, ALL),
        race.ratio(ALL, AGAIN),
    )


def gains(written: WrittenVariant, runs: Mapping[str, Sequence[Run]]) -> tuple[Gain, ...]:
    """Return the gain of each pass that changed something, in the order of the passes.

    Args:
        written: The files.
        runs: Runs of each race by its name. Each run has processes of its own.

    Raises:
        InputError: A file failed, or was raced too few times.
    """
    race = _Races(written, runs)
    found = []
    for name in written.passes:
        changed = [written.changes.get(variant, {}).get(name, 0) for variant in (ALL, only(name))]
        left_out, alone = race.difference(without(name), ALL), race.difference(NONE, only(name))
        invalid = written.refused.get(without(name), "")
        if left_out or alone or invalid or any(changed):
            changes = changed[0] or changed[1]
            found.append(
                Gain(name, written.network, written.target, changes, left_out, alone, invalid)
            )
    return tuple(found)


class _Races:
    """The runs of a network's files in one format."""

    def __init__(self, written: WrittenVariant, runs: Mapping[str, Sequence[Run]]) -> None:
        self._written = written
        self._levels: list[tuple[frozenset[str], Levels]] = []
        self._samples: dict[str, list[int]] = {}
        for race, candidates in races(written).items():
            found = [self._samples_of(run, candidates) for run in runs.get(race, ())]
            if len(found) < LEAST_PROCESSES:
                raise InputError(
                    f"{written.network} was raced fewer than {LEAST_PROCESSES} times on "
                    f"{written.target}: race it again."
                )
            self._levels.append((frozenset(found[0]), Levels(found)))

    def _samples_of(self, run: Run, candidates: Mapping[str, str]) -> dict[str, Rounds]:
        """Return the samples of each file, round by round."""
        by_name = {each.candidate.name: each for each in run.measurements}
        found: dict[str, Rounds] = {}
        for name, file in candidates.items():
            measurement = by_name.get(name)
            if measurement is None or measurement.error or not measurement.rounds:
                reason = (measurement and measurement.error) or "there are no samples"
                raise InputError(
                    f"{name} of {self._written.network} on {self._written.target} failed "
                    f"({reason}): race it again."
                )
            key = AGAIN if name == AGAIN else file
            found[key] = measurement.samples
            self._samples.setdefault(key, []).extend(measurement.pooled_samples)
        return found

    def _file(self, variant: str) -> str:
        return AGAIN if variant == AGAIN else self._written.files[variant]

    def seconds(self, variant: str) -> float:
        """Return the median seconds per call of a variant's file."""
        return median(self._samples[self._file(variant)]) / 1e9

    def ratio(self, over: str, under: str) -> Estimate:
        """Return time of the first variant / time of the second."""
        files = self._file(over), self._file(under)
        return next(
            levels.ratio(*files) for raced, levels in self._levels if raced.issuperset(files)
        )

    def difference(self, over: str, under: str) -> Estimate | None:
        """Return the ratio; None if both have the same file, or one has none."""
        files = self._written.files
        if over not in files or under not in files or files[over] == files[under]:
            return None
        return self.ratio(over, under)
