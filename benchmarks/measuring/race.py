"""Races candidates: one process each, taking turns in random order.

On a shared machine, the median of one file drifts by tens of per cent within minutes, but ratios
within a round do not. So each round gives every candidate a slice of time, in a new order.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from benchmarks.measuring.process import Process
from benchmarks.measuring.worker import WorkerFailed
from benchmarks.record import RECORD_VERSION, Artifact, Candidate, Limits, Measurement, Round, Run
from slide_deploy import __version__, machine
from slide_deploy.process import interruption

# Seconds between slices. Threads of a session spin after its last call and slow down the next one.
REST = 0.15
# Seconds of each slice of a long run without rests. Drift is measured from slice to slice.
SUSTAINED_SLICE = 0.5
PROFILED_CALLS = 20


@dataclass(frozen=True)
class RacePlan:
    """What to measure, and for how long.

    Attributes:
        candidates: Candidates with unique names. The first is the denominator of ratios.
        artifacts: Descriptions of their files, by name of the candidate.
        seconds: Sampling time of each candidate, over all rounds.
        rounds: Number of rounds.
        warm_up: Maximum seconds of warm-up.
        sustained: Seconds of one long run without rests for each candidate; 0 for none.
        profile: Whether to time operators at the end.
        limits: Threads for the processor's peak rates; None not to measure them.
        timeout: Seconds after which a process that does not respond is ended.
        seed: Seed of the order in each round.
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
        """Number of calls of ``on_step`` if no candidate fails."""
        after = (self.sustained > 0) + self.profile
        return len(self.candidates) * (1 + after) + self.rounds


# Called with a description before each step.
OnStep = Callable[[str], None]


def race(plan: RacePlan, on_step: OnStep = lambda _: None) -> Run:
    """Measure all candidates.

    If one fails, the reason is recorded, and the others continue. Ctrl-C ends the race early. The
    run then contains the measurements so far.
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
        with interruption.held():  # a second Ctrl-C must not lose the measurements
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
    """State of a race: measurements so far and live processes."""

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
        """Load, verify and warm up every candidate, one after the other."""
        for candidate in self._plan.candidates:
            self._step(f"{candidate.name}: load, verify and warm up")
            with self._failing(candidate.name):
                configuration = candidate.configuration
                worker = self._new_worker(configuration.threads, configuration.environment)
                self._workers[candidate.name] = worker
                self._note(candidate.name, **worker.call("load", candidate))
                self._prove(candidate, worker)
                self._note(candidate.name, **worker.call("warm_up", self._plan.warm_up))
        if self._plan.limits is not None:
            # Its matmuls run at the same time in threads of its own, so libraries get one thread.
            worker = self._new_worker(1)
            try:
                self._limits_of = worker.call("prepare_limits", self._plan.limits)
            except WorkerFailed:  # the report then lacks one column
                return
            self._limits_worker = worker

    def _prove(self, candidate: Candidate, worker: Process) -> None:
        """Compare a candidate with its reference outputs. It fails if they differ.

        If there are no reference outputs for the measured sizes, it must be correct at the sizes
        that have some.
        """
        artifact = self._plan.artifacts.get(candidate.name)
        proof, is_left = worker.call("prove", artifact.sha256 if artifact else None)
        if is_left:
            # In another process, so that the candidate's memory figures stay clean.
            other = self._new_worker(candidate.configuration.threads)
            other.call("prove_open", candidate)
            other.stop()
        self._note(candidate.name, proof=proof)

    def run_rounds(self) -> None:
        """Measure one slice of every candidate per round, in a random order."""
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
        """Run each candidate alone and without rests, to show whether it keeps its speed."""
        if not self._plan.sustained:
            return
        for name in list(self._workers):
            self._step(f"{name}: {self._plan.sustained:g} s without rest")
            end = time.monotonic() + self._plan.sustained
            with self._failing(name):
                while time.monotonic() < end:
                    self._add("sustained", name, SUSTAINED_SLICE)

    def profile(self) -> None:
        """Time operators. This comes last, because a profiler disturbs the measurement."""
        if not self._plan.profile:
            return
        for name, worker in list(self._workers.items()):
            self._step(f"{name}: profile")
            with self._failing(name):
                self._note(name, operators=worker.call("profile", PROFILED_CALLS))

    def limits(self) -> Limits | None:
        """Return the processor's peak rates; None if they were not measured."""
        if not self._limits or self._plan.limits is None:
            return None
        macs, moved = zip(*self._limits, strict=True)
        return Limits(self._plan.limits, macs, moved, *self._limits_of)

    def _add(self, kind: str, name: str, seconds: float) -> None:
        """Measure and record one more round, and the memory."""
        worker = self._workers[name]
        start = time.monotonic() - self._begin
        sampled = worker.call("round", seconds)
        now = Round(start, sampled.seconds, sampled.samples)
        rounds = (*getattr(self.measurements[name], kind), now)
        self._note(name, memory=worker.call("memory"), **{kind: rounds})

    def _measure_limits(self) -> None:
        if self._limits_worker is None:
            return
        time.sleep(REST)
        try:
            self._limits.append(self._limits_worker.call("measure_limits"))
        except WorkerFailed:
            self._limits_worker = None

    def _note(self, name: str, **known: object) -> None:
        self.measurements[name] = replace(self.measurements[name], **known)  # type: ignore[arg-type]

    def _new_worker(self, threads: int, environment: Mapping[str, str] | None = None) -> Process:
        with interruption.held():  # an interruption between these lines would leak the process
            worker = Process(threads, self._plan.timeout, environment or {})
            self._exits.callback(worker.stop)
        return worker

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        """Record a failure and remove the candidate from the race. Its measurements stay."""
        try:
            yield
        except WorkerFailed as failure:
            self._note(name, error=str(failure))
            worker = self._workers.pop(name, None)
            if worker is not None:
                worker.stop()
