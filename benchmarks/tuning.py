"""Finds the fastest lowering of one attention on one target, sparingly.

1. Every form in the least number of strips, in a short race.
2. The two best forms in every other number of strips; in a short race again, if they are many.
3. The best four and the present choice, in a long race.

The present choice takes part in each race, and ratios are taken to it. It is given up only for a
candidate whose whole 95 % interval lies below 1 (``slide_deploy.tuning.table.best``), widened by
the machine's own noise where that was calibrated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.calibration import remembered
from benchmarks.measuring.race import OnStep, RacePlan, race
from benchmarks.record import Candidate, Configuration, Measurement, Run
from benchmarks.statistics import LEAST_ROUNDS, paired_ratio, widened
from slide_deploy.errors import InputError
from slide_deploy.lowerings import Lowering
from slide_deploy.process import interruption
from slide_deploy.tuning.table import Trial, best

FORMS_KEPT, FINALISTS = 2, 4

# Writes and proves the file of a lowering. Raises `InputError` where it cannot be written or is
# wrong.
Make = Callable[[Lowering], Path]


@dataclass(frozen=True)
class Contest:
    """What is to be decided.

    Attributes:
        target: a name of `slide_deploy.backends.registry`.
        configuration: how candidates run.
        present: the choice so far.
        forms: that may win.
        strips: that may win, ascending.
        kept: how many forms are raced in every number of strips.
    """

    target: str
    configuration: Configuration
    present: Lowering
    forms: tuple[str, ...]
    strips: tuple[int, ...]
    kept: int = FORMS_KEPT


@dataclass(frozen=True)
class Effort:
    """How long to race.

    Attributes:
        seconds: of sampling for each candidate of the long race.
        rounds: of the long race.
        short_seconds: of sampling for each candidate of a short race, in as few rounds as give an
            interval.
        warm_up: most seconds until a latency must have settled.
    """

    seconds: float = 1.0
    rounds: int = 8
    short_seconds: float = 0.2
    warm_up: float = 0.3

    def plan(self, candidates: tuple[Candidate, ...], final: bool) -> RacePlan:
        """Of a race."""
        return RacePlan(
            candidates,
            seconds=self.seconds if final else self.short_seconds,
            rounds=self.rounds if final else LEAST_ROUNDS,
            warm_up=self.warm_up,
        )


@dataclass(frozen=True)
class Decision:
    """The outcome.

    Attributes:
        winner: the lowering to take.
        baseline: what ratios are taken to: the present choice, unless it cannot run.
        trials: all that were timed.
        dropped: the others, and why.
        runtime: library and version.
    """

    winner: str
    baseline: str
    trials: tuple[Trial, ...]
    dropped: Mapping[str, str]
    runtime: str


def decide(
    contest: Contest, make: Make, effort: Effort, on_step: OnStep = lambda _: None
) -> Decision:
    """Race the candidates of a contest.

    Args:
        contest: what is to be decided.
        make: gives the file of a lowering.
        effort: how long to race.
        on_step: told what is about to be done.

    Raises:
        InputError: if no candidate runs.
        KeyboardInterrupt: if the user ends it; nothing is decided then.
    """
    state = _State(contest, make, effort, on_step)
    while True:
        try:
            return state.decide()
        except _BaselineFailed:  # it is dropped; everything is measured against another one
            continue


class _BaselineFailed(Exception):
    pass


class _State:
    """What is known so far."""

    def __init__(self, contest: Contest, make: Make, effort: Effort, on_step: OnStep) -> None:
        self._contest = contest
        self._make = make
        self._effort = effort
        self._step = on_step
        self._noise = remembered([contest.target])
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
        """The best forms in those numbers of strips that have not been raced."""
        forms = list(dict.fromkeys(each.form for each in self._ranking()))
        forms = forms[: self._contest.kept]
        wanted = [Lowering(form, strips) for form in forms for strips in self._contest.strips]
        return [each for each in wanted if each not in self._trials]

    def _ranking(self) -> list[Lowering]:
        """All that were timed, the fastest first."""
        return sorted(self._trials, key=lambda each: self._trials[each].ratio)

    def _made(self, lowerings: Sequence[Lowering]) -> list[Lowering]:
        """Those that there is a right file of."""
        for each in dict.fromkeys(lowerings):
            if each in self._paths or each in self._dropped:
                continue
            self._step(f"write {each}")
            try:
                self._paths[each] = self._make(each)
            except InputError as error:
                interruption.check()  # a library may have made this error of a Ctrl-C
                self._dropped[each] = str(error)
        return [each for each in dict.fromkeys(lowerings) if each not in self._dropped]

    def _race(self, others: Sequence[Lowering], final: bool) -> None:
        """Race some against the baseline and note their figures; who fails is dropped."""
        racing = (self._baseline, *others)
        self._step(f"{'long' if final else 'short'} race of {len(racing)}")
        run = race(self._effort.plan(tuple(map(self._candidate, racing)), final))
        if run.interrupted:
            raise KeyboardInterrupt
        baseline = self._sound(run, 0)
        for index, lowering in enumerate(racing):
            measurement = self._sound(run, index)
            if measurement is None:
                self._dropped[lowering] = self._reason(lowering, run.measurements[index].error)
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

    def _sound(self, run: Run, index: int) -> Measurement | None:
        measurement = run.measurements[index]
        return None if measurement.error or not measurement.rounds else measurement

    def _reason(self, lowering: Lowering, error: str | None) -> str:
        # The folder is a temporary one: its name says nothing to whoever reads the table.
        path = self._paths[lowering]
        return (error or "it gave no figures").replace(str(path), path.name)

    def _trial(
        self, lowering: Lowering, measurement: Measurement, baseline: Measurement, final: bool
    ) -> Trial:
        samples = [taken.samples for taken in measurement.rounds]
        milliseconds = round(median(each for part in samples for each in part) / 1e6, 4)
        if measurement is baseline:
            return Trial(str(lowering), milliseconds, 1.0, 1.0, 1.0, final)
        ratio = paired_ratio(samples, [taken.samples for taken in baseline.rounds])
        assert ratio is not None  # every plan has rounds enough
        if self._noise is not None:
            ratio = widened(ratio, self._noise)
        # A median may lie a rounding error outside of the interval of its own resamples. Who has
        # won is judged by the figures as they are kept.
        low = min(ratio.interval.low, ratio.value)
        high = max(ratio.interval.high, ratio.value)
        value, low, high = (round(figure, 4) for figure in (ratio.value, low, high))
        return Trial(str(lowering), milliseconds, value, low, high, final)
