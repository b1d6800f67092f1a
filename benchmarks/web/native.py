"""Measures on a phone with the user's program: LiteRT's ``benchmark_model`` or a similar one.

The program and the files are pushed to the phone and run over the cable, in turns like other
candidates. The program prints mean times and no outputs, so these measurements are marked unproven.
Files with wrong outputs on this machine are not pushed.
"""

import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measuring.race import RacePlan
from benchmarks.record import RECORD_VERSION, Artifact, Candidate, Measurement, Round, Run, WarmUp
from benchmarks.web.adb import Phone
from benchmarks.web.plan import refused
from slide_deploy import __version__
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from slide_deploy.process import interruption
from slide_deploy.verification.reference_outputs.checking import verify_by_reference
from slide_deploy.verification.reference_outputs.proof import worst_failure
from slide_deploy.verification.reference_outputs.reference_file import read_reference

# Target that verifies the files on this machine.
_HERE = "litert:cpu"
_FOLDER = "/data/local/tmp/slide-deploy"
_DEFAULT_THREADS = 4
# "Inference timings in us: Init: 12, First inference: 99, Warmup (avg): 98.5, Inference (avg): 97"
_TIMINGS = re.compile(
    r"Inference timings in us: Init: (?P<init>[\d.e+]+), First inference: (?P<first>[\d.e+]+), "
    r"Warmup \(avg\): (?P<warm>[\d.e+]+), Inference \(avg\): (?P<mean>[\d.e+]+)"
)
# "count=50 first=98 curr=97 min=95 max=120 avg=97.1 std=2". The last line is about the timed calls.
_COUNT = re.compile(r"\bcount=(\d+)\b")
# Timeout in seconds, with loading and the program's own warm-up.
_TIMEOUT = 300


def measure(
    plan: RacePlan,
    phone: Phone,
    binary: Path,
    threads: int | None,
    step: Callable[[str], None] = lambda _: None,
) -> Run:
    """Run every candidate on the phone, round by round.

    Args:
        plan: Plan, with candidates that the program can run.
        phone: The phone.
        binary: The program.
        threads: Threads per call; None for four, as phones have few large cores.
        step: Called with a description before each step.

    Raises:
        InputError: The program or a file cannot be copied to the phone.
    """
    if not binary.is_file():
        raise InputError(f"--adb-binary {binary} does not exist: give the program's file.")
    started = datetime.now(UTC).isoformat(timespec="seconds")
    count = threads or _DEFAULT_THREADS
    measured = {}
    for each in plan.candidates:
        step(f"comparing {each.name} with its reference outputs")
        reason = _wrong_here(Path(each.path), plan.artifacts.get(each.name))
        measured[each.name] = replace(_blank(plan, each, count), error=reason)
    begin, interrupted = time.monotonic(), False
    try:
        program = _pushed(phone, binary, "program")
        phone.run("shell", "chmod", "755", program)
        files = {
            each.name: _pushed(phone, Path(each.path), f"{index}{Path(each.path).suffix}")
            for index, each in enumerate(plan.candidates)
            if measured[each.name].error is None
        }
        order, draw = list(files), random.Random(plan.seed)
        for index in range(plan.rounds):
            step(f"round {index + 1} of {plan.rounds}")
            draw.shuffle(order)
            for name in order:
                if measured[name].error is None:
                    command = _command(program, files[name], count, plan.seconds / plan.rounds)
                    measured[name] = _round(phone, command, measured[name], begin)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        with interruption.held(), suppress(InputError):  # the phone may be disconnected
            phone.run("shell", "rm", "-rf", _FOLDER)
    return Run(
        version=RECORD_VERSION,
        tool=__version__,
        started=started,
        seconds=plan.seconds,
        machine=phone.facts(),
        measurements=tuple(measured.values()),
        interrupted=interrupted,
    )


def _wrong_here(path: Path, artifact: Artifact | None) -> str | None:
    """Return why a file must not be timed; None if it is correct or cannot be verified here.

    Raises:
        InputError: Its reference outputs are damaged.
    """
    reference = read_reference(path)
    reason = refused(reference, artifact)
    if reason or reference is None or not target_named(_HERE).find().present:
        return reason
    try:
        verdict = verify_by_reference(path, reference, _HERE)
    except InputError as error:
        return str(error)
    return None if verdict.passed else f"wrong: {worst_failure(verdict)}"


def _blank(plan: RacePlan, candidate: Candidate, threads: int) -> Measurement:
    configuration = replace(candidate.configuration, threads=threads)
    runtime = {"library": "litert", "device": "cpu", "threads": str(threads), "proof": "unproven"}
    return Measurement(
        replace(candidate, configuration=configuration),
        plan.artifacts.get(candidate.name),
        runtime,
    )


def _pushed(phone: Phone, path: Path, name: str) -> str:
    place = f"{_FOLDER}/{name}"
    phone.run("shell", "mkdir", "-p", _FOLDER)
    phone.run("push", str(path), place, seconds=_TIMEOUT)
    return place


def _command(program: str, file: str, threads: int, seconds: float) -> list[str]:
    return [
        program,
        f"--graph={file}",
        f"--num_threads={threads}",
        "--use_xnnpack=true",
        # Calls continue until both minimums are reached.
        "--num_runs=3",
        f"--min_secs={seconds:g}",
        f"--max_secs={max(60.0, 2 * seconds):g}",
        "--warmup_min_secs=0.5",
    ]


def _round(phone: Phone, command: list[str], known: Measurement, begin: float) -> Measurement:
    """Return the measurement with one more round, whose only sample is the printed mean."""
    start = time.monotonic() - begin
    try:
        output = phone.run("shell", *command, "2>&1", seconds=_TIMEOUT)
    except InputError as error:
        return replace(known, error=str(error))
    timings, counts = _TIMINGS.search(output), _COUNT.findall(output)
    if timings is None or not counts or float(timings["mean"]) <= 0:
        return replace(
            known, error="the program printed no inference timings: it is not benchmark_model"
        )
    mean, count = float(timings["mean"]), int(counts[-1])
    taken = Round(start, mean * count / 1e6, (round(mean * 1000),))
    first = known.rounds == ()
    return replace(
        known,
        rounds=(*known.rounds, taken),
        repetitions=count if first else min(known.repetitions, count),
        warm_up=WarmUp(int(counts[0]), 0.5, True) if first else known.warm_up,
    )
