"""The process of one candidate. It runs commands of the race until its input ends.

Commands and results are pickled. They use standard input and the original standard output. What a
runtime prints goes to standard error.
"""

import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.measuring import limits, memory, timer
from benchmarks.record import Candidate, ColdStart, Memory, OperatorTime, Proof, Tensor
from slide_deploy.backends.base import Session, Stream, untimed
from slide_deploy.backends.inputs import drawn_shape, random_arrays
from slide_deploy.backends.registry import target_named, timed_target_named
from slide_deploy.errors import SlideDeployError
from slide_deploy.machine import hardware
from slide_deploy.verification.parity import Verification
from slide_deploy.verification.reference_outputs.proof import fits_all, prove, worst_failure
from slide_deploy.verification.reference_outputs.record import Reference
from slide_deploy.verification.reference_outputs.reference_file import read_reference


class WorkerFailed(Exception):
    """A command failed. The text is a clause on the reason."""


class Worker:
    """One candidate in this process. Each public method is a command."""

    def __init__(self) -> None:
        self._candidate: Candidate
        self._session: Session
        self._streams: list[Stream] = []
        self._calls: list[timer.Call] = []
        self._repetitions = 1
        self._imported: int | None = None
        self._after_load: int | None = None
        self._measure_limits: Callable[[], limits.Rates]

    def load(self, candidate: Candidate) -> dict[str, Any]:
        """Read, compile and run the file once. Return these fields of `Measurement`."""
        pinned = candidate.configuration.pinned
        if pinned:
            _pin(pinned)
        stages: dict[str, float] = {}

        @contextmanager
        def stage(name: str) -> Iterator[None]:
            start = time.perf_counter()
            try:
                yield
            finally:
                stages[name] = time.perf_counter() - start
                if name == "import":
                    self._imported = memory.current()

        target = timed_target_named(candidate.target)
        self._candidate = candidate
        self._session = target.open(Path(candidate.path), candidate.configuration, stage)
        self._streams = [self._bound_stream() for _ in range(candidate.configuration.streams)]
        self._calls = [
            timer.with_extra_work(stream.run, self._session.clock, candidate.extra_work)
            for stream in self._streams
        ]
        self._after_load = memory.current()
        with stage("first run"):
            self._calls[0]()
        session = self._session
        runtime = {"library": session.runtime, "version": session.version, **session.facts}
        # The inputs as `random_arrays` draws them.
        inputs = tuple(Tensor(each.name, each.dtype, drawn_shape(each)) for each in session.inputs)
        return {"runtime": runtime, "inputs": inputs, "cold": ColdStart(stages)}

    def _bound_stream(self) -> Stream:
        """Return a new stream with random inputs of its own."""
        stream = self._session.new_stream()
        stream.bind(random_arrays(self._session.inputs))
        return stream

    def prove(self, sha256: str | None) -> tuple[Proof | None, bool]:
        """Compare the streams that will be timed with the file's reference outputs.

        Args:
            sha256: SHA-256 of the file; None if unknown.

        Returns:
            Largest errors of all streams, or None if there are no reference outputs for the
            measured sizes. Then whether there are cases of other sizes than the measured ones.

        Raises:
            SlideDeployError: Outputs of a stream are wrong, or the reference outputs are of
                another file.
        """
        reference = read_reference(Path(self._candidate.path))
        if reference is None:
            return None, False
        if sha256 not in (None, reference.model_sha256):
            raise SlideDeployError(
                "wrong: the file differs from the one that was verified at its export: export it "
                "again."
            )
        session, configuration = self._session, self._candidate.configuration
        computed = session.facts.get("precision", configuration.precision)
        verdicts = [
            verdict
            for stream in self._streams
            if (verdict := prove(session, stream, reference, computed)) is not None
        ]
        _refuse_wrong(verdicts)
        for stream in self._streams:
            stream.bind(random_arrays(session.inputs))
        proof = _proof(verdicts, reference.precision) if verdicts else None
        return proof, not fits_all(session, reference)

    def prove_open(self, candidate: Candidate) -> None:
        """Compare a file with every case of its reference outputs, at the sizes of the cases.

        Raises:
            SlideDeployError: Outputs are wrong, it accepts none of the cases, or it cannot be
                opened.
        """
        reference = read_reference(Path(candidate.path))
        assert reference is not None
        precision = candidate.configuration.precision
        verdicts = [
            verdict
            for session in _at_own_sizes(candidate, reference)
            if (
                verdict := prove(
                    session,
                    session.new_stream(),
                    reference,
                    session.facts.get("precision", precision),
                )
            )
        ]
        if not verdicts:
            raise SlideDeployError(
                "wrong: the file accepts other inputs than at its export: export it again."
            )
        _refuse_wrong(verdicts)

    def warm_up(self, limit: float) -> dict[str, Any]:
        """Call until the latency is steady, for at most ``limit`` seconds.

        Return the warm-up and the calls per sample from now on, as fields of `Measurement`.
        """
        warm, latency = timer.warm_up(self._calls[0], self._session.clock, limit)
        self._repetitions = timer.repetitions(latency)
        return {"warm_up": warm, "repetitions": self._repetitions}

    def round(self, seconds: float) -> timer.Sampled:
        """Time calls for some seconds."""
        return timer.sample(self._calls, self._session.clock, seconds, self._repetitions)

    def memory(self) -> Memory:
        """Return the memory of this process so far, or None if another process runs the file."""
        if self._session.is_apart:
            return Memory(None, None, None)
        return Memory(self._imported, self._after_load, memory.peak())

    def profile(self, calls: int) -> tuple[OperatorTime, ...]:
        """Return the time of each operator; empty if the runtime has no profiler."""
        profile = target_named(self._candidate.target).profile
        if profile is None:
            return ()
        return tuple(profile(Path(self._candidate.path), self._candidate.configuration, calls))

    def prepare_limits(self, threads: int) -> tuple[str, int | None]:
        """Prepare measuring the processor. Return the matmul and the bytes of the cache."""
        product, self._measure_limits = limits.prepare(threads)
        return product, hardware().last_level_cache

    def measure_limits(self) -> tuple[float, float]:
        """Measure multiply-accumulates and bytes per second."""
        return self._measure_limits()


def _at_own_sizes(candidate: Candidate, reference: Reference) -> Iterator[Session]:
    """Open the file with open sizes or, if the target fixes sizes, once for those of each case.

    Raises:
        Exception: Any exception of the runtime, if it cannot open the file either way.
    """
    target, path = timed_target_named(candidate.target), Path(candidate.path)
    configuration = replace(candidate.configuration, batch=None, shapes={})
    try:
        opened = target.open(path, configuration, untimed)
    except Exception as refusal:  # runtimes raise their own exceptions
        is_opened = False
        for shapes in _sizes_of(reference):
            try:
                fixed = target.open(path, replace(configuration, shapes=shapes), untimed)
            except Exception:  # a file with a fixed batch accepts only cases of that batch
                continue
            is_opened = True
            yield fixed
        if not is_opened:
            raise refusal
        return
    yield opened


def _sizes_of(reference: Reference) -> list[dict[str, tuple[int, ...]]]:
    """Return the distinct input shapes of the cases."""
    found: list[dict[str, tuple[int, ...]]] = []
    for case in reference.cases:
        shapes = {
            name: recipe.handed if case.rows is None else (case.rows, *recipe.handed[1:])
            for name, recipe in case.recipes.items()
        }
        if shapes not in found:
            found.append(shapes)
    return found


def _refuse_wrong(verdicts: Sequence[Verification]) -> None:
    for verdict in verdicts:
        if not verdict.passed:
            raise SlideDeployError(f"wrong: {worst_failure(verdict)}")


def _proof(verdicts: Sequence[Verification], precision: str) -> Proof:
    snr_db = min(each.worst.snr_db for each in verdicts)
    return Proof(
        cases=len({case.name for case in verdicts[0].cases}),
        relative=max(each.worst.max_relative for each in verdicts),
        snr_db=snr_db if math.isfinite(snr_db) else None,
        precision=precision,
    )


def _pin(processors: tuple[int, ...]) -> None:
    # mypy checks one platform; others lack the function.
    setter: Callable[[int, tuple[int, ...]], None] | None = getattr(os, "sched_setaffinity", None)
    if setter is None:
        raise SlideDeployError("This system cannot pin a process: remove --pin.")
    try:
        setter(0, processors)
    except (OSError, ValueError) as error:
        raise SlideDeployError(
            f"The process cannot be pinned to {', '.join(map(str, processors))} ({error}): "
            f"give existing processors to --pin."
        ) from error


def _sentence(error: BaseException) -> str:
    if isinstance(error, SlideDeployError):
        return str(error)
    if isinstance(error, MemoryError):
        return "it ran out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def serve(commands: BinaryIO, results: BinaryIO) -> None:
    """Run commands, (name, arguments), until the input ends."""
    worker = Worker()
    while True:
        try:
            name, arguments = pickle.load(commands)
        except EOFError:
            return
        result: Any
        try:
            result = getattr(worker, name)(*arguments)
        except Exception as error:  # runtimes raise their own exceptions; the race continues
            result = WorkerFailed(_sentence(error))
        pickle.dump(result, results)
        results.flush()


def main() -> None:
    """Reserve standard output for results. Redirect other output to standard error."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, results)
