"""A run of a network's files to what each pass gives, and how ours stand against other tools'."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.passes.record import PLAIN, Written
from benchmarks.passes.variants import ALL, NONE, only, without
from benchmarks.record import Measurement, Run
from benchmarks.statistics import Estimate, paired_ratio
from slide_deploy.errors import InputError

# The file with all passes once more, in a process of its own: what equal files differ by.
AGAIN = "all again"
# A file must run at least so many times as fast as what other tools write.
LEAST = 0.98
# A pass is kept if some network runs so many times as fast by it.
PAYS = 1.01


@dataclass(frozen=True)
class Gain:
    """What one pass gives one network on one runtime.

    Attributes:
        name: of the pass.
        network: its name.
        target: that runs it.
        changes: how many places it changes among all passes, or alone where it changes none then.
        left_out: time without it over time with all passes; None where that is the same file.
        alone: time without any pass over time with it alone; None where that is the same file.
        invalid: why there is no file without it, a sentence; empty where there is one.
    """

    name: str
    network: str
    target: str
    changes: int
    left_out: Estimate | None
    alone: Estimate | None
    invalid: str = ""


@dataclass(frozen=True)
class Standing:
    """A network's file with all passes on one runtime.

    Attributes:
        network: its name.
        target: that runs it.
        plain_seconds: median of what the other tool writes.
        seconds: median of ours.
        against_plain: time of the other tool's file over that of ours.
        against_none: time of ours without any pass over that with all; None where there is no
            file without, or no pass changed anything.
        noise: time of ours over that of the same file in another process.
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
        """Where all of the interval lies; in words."""
        interval = self.against_plain.interval
        if interval.high < LEAST:
            return "slower"
        return "reached" if interval.low >= LEAST else "cannot tell"


def candidates_of(written: Written) -> dict[str, str]:
    """The files that are raced, by the name of the first variant that each belongs to."""
    found: dict[str, str] = {}
    for variant in (ALL, PLAIN, NONE, *written.files):
        file = written.files.get(variant)
        if file is not None and file not in found.values():
            found[variant] = file
    return {**found, AGAIN: written.files[ALL]}


def standing(written: Written, run: Run) -> Standing:
    """How the file with all passes stands.

    Raises:
        InputError: if a file gave too few figures.
    """
    race = _Race(written, run)
    against_plain = race.ratio(PLAIN, ALL)
    plain, ours = race.measurement(PLAIN), race.measurement(ALL)
    return Standing(
        written.network,
        written.target,
        median(plain.pooled_samples) / 1e9,
        median(ours.pooled_samples) / 1e9,
        against_plain,
        race.difference(NONE, ALL),
        race.ratio(ALL, AGAIN),
    )


def gains(written: Written, run: Run) -> tuple[Gain, ...]:
    """What each pass gives that changed anything, in their order.

    Raises:
        InputError: if a file gave too few figures.
    """
    race = _Race(written, run)
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


class _Race:
    """The measurements of a run by the variants that they are of."""

    def __init__(self, written: Written, run: Run) -> None:
        self._written = written
        by_name = {each.candidate.name: each for each in run.measurements}
        self._by_file: dict[str, Measurement] = {}
        for variant, file in candidates_of(written).items():
            if variant not in by_name:
                raise InputError(
                    f"The run of {written.network} on {written.target} has no {variant}: race it "
                    f"again."
                )
            if variant != AGAIN:
                self._by_file[file] = by_name[variant]
        self._again = by_name[AGAIN]

    def measurement(self, variant: str) -> Measurement:
        """Of the file of a variant."""
        return self._again if variant == AGAIN else self._by_file[self._written.files[variant]]

    def ratio(self, over: str, under: str) -> Estimate:
        """How many times as long the first variant takes."""
        first, second = self.measurement(over), self.measurement(under)
        found = paired_ratio(first.samples, second.samples)
        if found is None:
            failed = first if first.error or not second.error else second
            raise InputError(
                f"{failed.candidate.name} of {self._written.network} on {self._written.target} "
                f"gave too few figures ({failed.error or 'too few rounds'}): race it again."
            )
        return found

    def difference(self, over: str, under: str) -> Estimate | None:
        """The ratio; None where both are the same file, or one does not exist."""
        files: Mapping[str, str] = self._written.files
        if over not in files or under not in files or files[over] == files[under]:
            return None
        return self.ratio(over, under)
