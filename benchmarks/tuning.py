"""Finds the fastest lowering of one attention on one target with few measurements.

1. A short race of every form with the smallest number of strips.
2. The two best forms with every other number of strips, in another short race if there are many.
3. A long race of the best four and the present choice.

The present choice takes part in each race and is the denominator of all ratios. Another candidate
replaces it only if its whole 95 % interval lies below 1 (``slide_deploy.tuning.table.best``). The
interval is widened by the machine's noise if that was calibrated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.calibration import stored_noise
from benchmarks.measuring.race import OnStep, RacePlan, race
from benchmarks.record import Candidate, Configuration, Measurement, Run
from benchmarks.statistics import LEAST_ROUNDS, paired_ratio, widened
from slide_deploy.errors import InputError
from slide_deploy.lowerings import Lowering
from slide_deploy.process import interruption
from slide_deploy.tuning.table import Trial, best

FORMS_KEPT, FINALISTS = 2, 4

# Writes and verifies the file of a lowering. Raises `InputError` if it cannot be written or its
# outputs are wrong.
Make = Callable[[Lowering], Path]


@dataclass(frozen=True)
class Contest:
    """The candidates to decide between.

    Attributes:
        target: A name in `slide_deploy.backends.registry`.
        configuration: Settings that candidates run with.
        present: The present choice.
        forms: Forms that may win.
        strips: Numbers of strips that may win, ascending.
        kept: Number of forms to race with every number of strips.
    """

    target: str
    configuration: Configuration
    present: Lowering
    forms: tuple[str, ...]
    strips: tuple[int, ...]
    kept: int = FORMS_KEPT


@dataclass(frozen=True)
class Effort:
    """Durations of the races.

    Attributes:
        seconds: Sampling time of each candidate in the long race.
        rounds: Rounds of the long race.
        short_seconds: Sampling time of each candidate in a short race. A short race has the
            fewest rounds that give an interval.
        warm_up: Maximum seconds of warm-up.
    """

    seconds: float = 1.0
    rounds: int = 8
    short_seconds: float = 0.2
    warm_up: float = 0.3

    def plan(self, candidates: tuple[Candidate, ...], final: bool) -> RacePlan:
        """Return the plan of a race, long if it is the final one."""
        return RacePlan(
            candidates,
            seconds=self.seconds if final else self.short_seconds,
            rounds=self.rounds if final else LEAST_ROUNDS,
            warm_up=self.warm_up,
        )


@dataclass(frozen=True)
class Decision:
    """Outcome of a contest.

    Attributes:
        winner: The chosen lowering.
        baseline: Denominator of the ratios: the present choice, unless it cannot run.
        trials: All lowerings that were timed.
        dropped: The other lowerings, with the reason.
        runtime: Library and version.
    """

    winner: str
    baseline: str
    trials: tuple[Trial, ...]
    dropped: dict[str, str]
    runtime: str


def decide(
    contest: Contest, make: Make, effort: Effort, on_step: OnStep = lambda _: None
) -> Decision:
    """Race the candidates of a contest.

    Args:
        contest: The candidates.
        make: Writes the file of a lowering.
        effort: Durations of the races.
        on_step: Called with a description before each step.

    Raises:
        InputError: No candidate runs.
        KeyboardInterrupt: The user ended the race. Nothing is decided.
    """
    state = _State(contest, make, effort, on_step)
    while True:
        try:
            return state.decide()
        except _BaselineFailed:  # the baseline was dropped: start again with another one
            continue


class _BaselineFailed(Exception):
    pass


class _State:
    """State of a contest: files, trials and dropped lowerings so far."""

    def __init__(self, contest: Contest, make: Make, effort: Effort, on_step: OnStep) -> None:
        self._contest = contest
        self._make = make
        self._effort = effort
        self._step = on_step
        self._noise = stored_noise([contest.target])
        self._paths: dict[Lowering, Path] = {}
        self._dropped: dict[Lowering, str] = {}
        self._trials: dict[Lowering, Trial] = {}
        self._baseline: Lowering
        self._runtime = ""

    def decide(self) -> Decision:
        self._trials.clear()
        contest = self._contest
        forms = [Lowering(form, contest.strips[0]) for form in contest.forms]
        made = self._made([contest.present, *forms])
        if not made:
            raise InputError(
                f"No form of the attention runs on {contest.target}: "
                f"{next(iter(self._dropped.values()))}"
            )
        self._baseline = made[0]
        self._race(made[1:], final=False)
        new = self._made(self._in_strips())
        if len(new) >= FINALISTS:
            self._race(new, final=False)
            new = []
        finalists = [*new, *(each for each in self._ranking() if each != self._baseline)]
        self._race(finalists[:FINALISTS], final=True)
        trials = tuple(self._trials[each] for each in sorted(self._trials))
        return Decision(
            winner=best(trials, str(self._baseline)),
            baseline=str(self._baseline),
            trials=trials,
            dropped={str(each): reason for each, reason in self._dropped.items()},
            runtime=self._runtime,
        )

    def _in_strips(self) -> list[Lowering]:
        """Return the best forms with the numbers of strips that were not raced yet."""
        forms = list(dict.fromkeys(each.form for each in self._ranking()))
        forms = forms[: self._contest.kept]
        wanted = [Lowering(form, strips) for form in forms for strips in self._contest.strips]
        return [each for each in wanted if each not in self._trials]

    def _ranking(self) -> list[Lowering]:
        """Return all timed lowerings, the fastest first."""
        return sorted(self._trials, key=lambda each: self._trials[each].ratio)

    def _made(self, lowerings: Sequence[Lowering]) -> list[Lowering]:
        """Write missing files and return the lowerings whose file is correct."""
        for each in dict.fromkeys(lowerings):
            if each in self._paths or each in self._dropped:
                continue
            self._step(f"write {each}")
            try:
                self._paths[each] = self._make(each)
            except InputError as error:
                interruption.check()  # a library may have turned Ctrl-C into this error
                self._dropped[each] = str(error)
        return [each for each in dict.fromkeys(lowerings) if each not in self._dropped]

    def _race(self, others: Sequence[Lowering], final: bool) -> None:
        """Race lowerings against the baseline and record trials. Drop those that fail."""
        racing = (self._baseline, *others)
        self._step(f"{'long' if final else 'short'} race of {len(racing)}")
        run = race(self._effort.plan(tuple(map(self._candidate, racing)), final))
        if run.interrupted:
            raise KeyboardInterrupt
        baseline = self._succeeded(run, 0)
        for index, lowering in enumerate(racing):
            measurement = self._succeeded(run, index)
            if measurement is None:
                # The folder is temporary, so its path is of no use in the table.
                path, error = self._paths[lowering], run.measurements[index].error
                reason = (error or "it has no samples").replace(str(path), path.name)
                self._dropped[lowering] = reason
                self._trials.pop(lowering, None)
            elif baseline is not None:
                self._trials[lowering] = self._trial(lowering, measurement, baseline, final)
        if baseline is None:
            raise _BaselineFailed
        self._runtime = " ".join(
            baseline.runtime.get(name, "") for name in ("library", "version")
        ).strip()

    def _candidate(self, lowering: Lowering) -> Candidate:
        contest = self._contest
        path = str(self._paths[lowering])
        return Candidate(str(lowering), path, contest.target, contest.configuration)

    def _succeeded(self, run: Run, index: int) -> Measurement | None:
        measurement = run.measurements[index]
        return None if measurement.error or not measurement.rounds else measurement

    def _trial(
        self, lowering: Lowering, measurement: Measurement, baseline: Measurement, final: bool
    ) -> Trial:
        samples = [taken.samples for taken in measurement.rounds]
        milliseconds = round(median(each for part in samples for each in part) / 1e6, 4)
        if measurement is baseline:
            return Trial(str(lowering), milliseconds, 1.0, 1.0, 1.0, final)
        ratio = paired_ratio(samples, [taken.samples for taken in baseline.rounds])
        assert ratio is not None  # every plan has enough rounds
        if self._noise is not None:
            ratio = widened(ratio, self._noise)
        # A median may lie outside the interval of its resamples by a rounding error. The winner is
        # chosen by the rounded figures, as they are stored.
        low = min(ratio.interval.low, ratio.value)
        high = max(ratio.interval.high, ratio.value)
        value, low, high = (round(figure, 4) for figure in (ratio.value, low, high))
        return Trial(str(lowering), milliseconds, value, low, high, final)
