"""Runs the plan of a bundle on the device. `run.py` in the bundle starts it.

It needs only the standard library, numpy and the runtimes.
"""

import argparse
import itertools
import json
import math
import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

from benchmarks.measuring.plan_file import read_plan
from benchmarks.measuring.race import OnStep, RacePlan, race
from benchmarks.record import Candidate, Measurement, Run
from slide_deploy.errors import SlideDeployError
from slide_deploy.files.writing import require_writable, write_text
from slide_deploy.machine import usable_threads

PLAN, INTERRUPTED = "plan.json", 130


def main(folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Measure and write ``result-HOST.json`` into the folder.

    Args:
        folder: Folder of the unpacked bundle.
        arguments: Command-line arguments; those of this process if None.

    Returns:
        The exit code: 1 if a candidate failed, 2 if nothing could be measured, 130 if interrupted.
    """
    chosen = _parser().parse_args(arguments)
    # Paths of the plan are relative, so that the result contains no folder names of this device.
    os.chdir(folder)
    try:
        plan = adapted(
            read_plan(folder / PLAN),
            usable_threads(),
            chosen.threads,
            chosen.seconds,
        )
        path = folder / f"result-{host_name()}.json"
        require_writable(path)
        run = race(plan, _printed(plan.steps))
        print(summary(run))
        # `slide-deploy report` validates the result.
        write_text(path, json.dumps(asdict(run), ensure_ascii=False, allow_nan=False) + "\n")
    except (SlideDeployError, OSError) as error:
        print(f"No result was written: {error}")
        return 2
    print(f"Written: {path.name}. Copy it back and read it: slide-deploy report {path.name}")
    if run.interrupted:
        return INTERRUPTED
    return 1 if any(measured.error for measured in run.measurements) else 0


def adapted(plan: RacePlan, usable: int, threads: int | None, seconds: float | None) -> RacePlan:
    """Adapt a plan to this device.

    Args:
        plan: Plan from another machine.
        usable: Number of threads that can run at the same time on this device.
        threads: Threads of one inference, if the user set them.
        seconds: Measuring time of each candidate, if the user set it.
    """

    def here(planned: int) -> int:
        return threads or min(planned, usable)

    def moved(candidate: Candidate) -> Candidate:
        configuration = candidate.configuration
        return replace(
            candidate,
            configuration=replace(configuration, threads=here(configuration.threads)),
        )

    return replace(
        plan,
        candidates=tuple(map(moved, plan.candidates)),
        limits=None if plan.limits is None else here(plan.limits),
        seconds=plan.seconds if seconds is None else seconds,
    )


def host_name() -> str:
    """Return the host name of this device as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", platform.node()).strip("-.") or "device"


def summary(run: Run) -> str:
    """Return one line for each candidate. The report adds intervals and warnings."""
    width = max(len(measured.candidate.name) for measured in run.measurements)
    return "\n".join(
        f"{measured.candidate.name:<{width}}  {_outcome(measured)}" for measured in run.measurements
    )


def _outcome(measured: Measurement) -> str:
    if measured.error is not None:
        return f"failed: {measured.error}"
    samples = measured.pooled_samples
    if not samples:
        return "not measured"
    proof = measured.proof
    how = "unproven" if proof is None else f"error {proof.relative:.0e}"
    return f"{median(samples) / 1e6:.3f} ms, {how}"


def _printed(count: int) -> OnStep:
    """Return a function that prints each step as it starts, in plain text for serial lines."""
    numbers = itertools.count(1)
    return lambda step: print(f"[{next(numbers)}/{count}] {step}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py", description="Measure the files of this bundle on this device."
    )
    parser.add_argument(
        "--threads",
        type=_positive(int),
        help="threads of one inference; default: those of the plan, limited to the cores",
    )
    parser.add_argument(
        "--seconds",
        type=_positive(float),
        help="measuring time of each file; default: that of the plan",
    )
    return parser


def _positive(kind: type[int] | type[float]) -> Callable[[str], int | float]:
    def parse(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return parse
