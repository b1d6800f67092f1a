"""Runs candidates against each other: one process each, in turns, in random order.

Medians of one file drift by tens of per cent between minutes on a shared machine; ratios taken
round by round do not. So each round gives every candidate a slice of time, in an order of its own.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from benchmarks.measuring.process import Process, WorkerFailed
from benchmarks.record import RECORD_VERSION, Artifact, Candidate, Limits, Measurement, Round, Run
from slide_deploy import __version__, machine
from slide_deploy.process import interruption

# A session's threads spin for a while after its last call and slow down whoever is timed next.
REST = 0.15
# Slices of one long go without rests; a slice is what drift is judged by.
SUSTAINED_SLICE = 0.5
PROFILED_CALLS = 20


@dataclass(frozen=True)
class RacePlan:
    """What to measure and for how long.

    Attributes:
        candidates: with unique names; ratios are taken to the first.
        artifacts: what is known of their files, by candidate's name.
        seconds: of sampling for each candidate, over all rounds.
        rounds: how many.
        warm_up: most seconds until a latency must have settled.
        sustained: seconds of one long go for each candidate afterwards; 0 for none.
        profile: whether to time operators afterwards.
        limits: threads with which to measure the processor's limits; None to leave that out.
        timeout: seconds after which a process that does not answer is given up.
        seed: of the order in each round.
    """

    candidates: tuple[Candidate, ...]
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    seconds: float = 10.0
    rounds: int = 20
    warm_up: float = 10.0
    sustained: float = 0.0
    profile: bool = False
    limits: int | None = None
    timeout: float = 600.0
    seed: int = 0

    @property
    def steps(self) -> int:
        """How often `race` says that it goes on, if nothing fails."""
        after = (self.sustained > 0) + self.profile
        return len(self.candidates) * (1 + after) + self.rounds


# Called with what is about to be done.
OnStep = Callable[[str], None]


def race(plan: RacePlan, on_step: OnStep = lambda _: None) -> Run:
    """Measure all candidates; one that fails is recorded with the reason, the others go on.

    Ctrl-C ends it early with what was measured until then.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with _Race(plan, on_step) as state:
        interrupted = False
        try:
            state.start()
            state.run_rounds()
            state.sustain()
            state.profile()
        except KeyboardInterrupt:
            interrupted = True
        with interruption.held():  # one more Ctrl-C must not cost what was measured
            return Run(
                version=RECORD_VERSION,
                tool=__version__,
                started=started,
                seconds=plan.seconds,
                machine=machine.describe(),
                measurements=tuple(state.measurements.values()),
                limits=state.limits(),
                interrupted=interrupted,
            )


class _Race:
    """What is known so far, and the processes that are alive."""

    def __init__(self, plan: RacePlan, on_step: OnStep) -> None:
        self._plan = plan
        self._step = on_step
        self._begin = time.monotonic()
        self._random = random.Random(plan.seed)
        self._exits = ExitStack()
        self._workers: dict[str, Process] = {}
        self._limits: list[tuple[float, float]] = []
        self._limits_worker: Process | None = None
        self._limits_of: tuple[str, int | None] = ("", None)
        self.measurements = {
            candidate.name: Measurement(candidate, plan.artifacts.get(candidate.name))
            for candidate in plan.candidates
        }

    def __enter__(self) -> "_Race":
        return self

    def __exit__(self, *exception: object) -> None:
        with interruption.held():
            self._exits.close()

    def start(self) -> None:
        """Load every candidate, prove it and warm it up, one after the other."""
        for candidate in self._plan.candidates:
            self._step(f"{candidate.name}: load, prove and warm up")
            with self._failing(candidate.name):
                configuration = candidate.configuration
                worker = self._new_worker(configuration.threads, configuration.environment)
                self._workers[candidate.name] = worker
                loaded = worker.ask("load", candidate)
                self._note(
                    candidate.name, runtime=loaded.runtime, inputs=loaded.inputs, cold=loaded.cold
                )
                self._prove(candidate, worker)
                warmed = worker.ask("warm_up", self._plan.warm_up)
                self._note(candidate.name, warm_up=warmed.warm_up, repetitions=warmed.repetitions)
        if self._plan.limits is not None:
            # Its products run side by side, each in a thread of its own: one inside each of them.
            worker = self._new_worker(1)
            try:
                self._limits_of = worker.ask("prepare_limits", self._plan.limits)
            except WorkerFailed:  # the candidates matter more; the report lacks one column
                return
            self._limits_worker = worker

    def _prove(self, candidate: Candidate, worker: Process) -> None:
        """Hold a candidate against its reference outputs; one that is wrong fails.

        It may be unproven at the sizes that are measured, but must then be right at its own.
        """
        artifact = self._plan.artifacts.get(candidate.name)
        proved = worker.ask("prove", artifact.sha256 if artifact else None)
        if proved.left:
            # In a process of its own, whose memory is not the candidate's.
            other = self._new_worker(candidate.configuration.threads)
            other.ask("prove_open", candidate)
            other.stop()
        self._note(candidate.name, proof=proved.proof)

    def run_rounds(self) -> None:
        """Give every candidate its slice of each round, in an order of the round's own."""
        slice_seconds = self._plan.seconds / self._plan.rounds
        for index in range(self._plan.rounds):
            self._step(f"round {index + 1} of {self._plan.rounds}")
            names = list(self._workers)
            self._random.shuffle(names)
            for name in names:
                time.sleep(REST)
                with self._failing(name):
                    self._add("rounds", name, slice_seconds)
            self._measure_limits()

    def sustain(self) -> None:
        """Let each candidate run alone and without rests: does it keep its speed?"""
        if not self._plan.sustained:
            return
        for name in list(self._workers):
            self._step(f"{name}: {self._plan.sustained:g} s without rest")
            end = time.monotonic() + self._plan.sustained
            with self._failing(name):
                while time.monotonic() < end:
                    self._add("sustained", name, SUSTAINED_SLICE)

    def profile(self) -> None:
        """Time operators last, since a profiler disturbs what it watches."""
        if not self._plan.profile:
            return
        for name, worker in list(self._workers.items()):
            self._step(f"{name}: profile")
            with self._failing(name):
                self._note(name, operators=worker.ask("profile", PROFILED_CALLS))

    def limits(self) -> Limits | None:
        """Of the processor; None if they were not measured."""
        if not self._limits or self._plan.limits is None:
            return None
        macs, moved = zip(*self._limits, strict=True)
        return Limits(self._plan.limits, macs, moved, *self._limits_of)

    def _add(self, kind: str, name: str, seconds: float) -> None:
        """One more round, and what memory it took."""
        worker = self._workers[name]
        start = time.monotonic() - self._begin
        sampled = worker.ask("round", seconds)
        now = Round(start, sampled.seconds, sampled.samples)
        rounds = (*getattr(self.measurements[name], kind), now)
        self._note(name, memory=worker.ask("memory"), **{kind: rounds})

    def _measure_limits(self) -> None:
        if self._limits_worker is None:
            return
        time.sleep(REST)
        try:
            self._limits.append(self._limits_worker.ask("measure_limits"))
        except WorkerFailed:
            self._limits_worker = None

    def _note(self, name: str, **known: object) -> None:
        self.measurements[name] = replace(self.measurements[name], **known)  # type: ignore[arg-type]

    def _new_worker(self, threads: int, environment: Mapping[str, str] | None = None) -> Process:
        with interruption.held():  # an interrupt between these lines would leak the process
            worker = Process(threads, self._plan.timeout, environment or {})
            self._exits.callback(worker.stop)
        return worker

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        """A candidate that fails leaves the race; what it had measured stays."""
        try:
            yield
        except WorkerFailed as failure:
            self._note(name, error=str(failure))
            worker = self._workers.pop(name, None)
            if worker is not None:
                worker.stop()
