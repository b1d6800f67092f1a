"""``python -m benchmarks.trust FILE…``: measure the harness, print what was found, keep it."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.artifact import describe_artifact
from benchmarks.record import Configuration
from benchmarks.trust.page import page, update
from benchmarks.trust.subject import SLICE, TrustSettings, TrustSubject, subject
from benchmarks.trust.tables import grids
from benchmarks.trust.trial import examine, steps
from slide_deploy.errors import SlideDeployError
from slide_deploy.files.writing import require_writable
from slide_deploy.machine import describe, usable_threads
from slide_deploy.terminal.progress import Steps

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if the harness is not to be trusted here, 2 if nothing was found out."""
    chosen = _parser().parse_args(arguments)
    settings = TrustSettings(
        runs=chosen.runs,
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        comparisons=chosen.comparisons,
        vendor_seconds=chosen.vendor_seconds,
        configuration=Configuration(threads=chosen.threads, batch=chosen.batch),
    )
    try:
        subjects = [subject(path) for path in chosen.files]
        if chosen.out is not None:
            page(chosen.out).around()  # before minutes are spent on what goes there
            require_writable(chosen.out)
        conditions = _conditions(
            subjects, settings, sys.argv[1:] if arguments is None else arguments
        )
        with Steps(False, steps(subjects, settings)) as step:
            findings = examine(subjects, settings, step)
        for grid in grids(findings):
            grid.print()
        if chosen.out is not None:
            update(chosen.out, findings, conditions)
            print(f"written: {chosen.out}")
    except SlideDeployError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing is written.", file=sys.stderr)
        return INTERRUPTED
    return 0 if findings.accepted else 1


def _conditions(
    subjects: Sequence[TrustSubject], settings: TrustSettings, arguments: Sequence[str]
) -> dict[str, str]:
    """What was run, how and where; before it begins, since the load is of interest, too."""
    configuration = settings.configuration
    artifacts = [describe_artifact(each.path) for each in subjects]
    return {
        "command": f"`make bench-trust`: `python -m benchmarks.trust {shlex.join(arguments)}`",
        "files": ", ".join(f"{each.name} (sha256 {each.sha256[:12]})" for each in artifacts),
        "candidates": f"threads {configuration.threads}, batch {configuration.batch}, "
        f"{configuration.precision}",
        "a race": f"two processes, {settings.rounds} rounds, {settings.seconds:g} s of measuring "
        f"each; `bench` takes 20 rounds and 10 s by itself; no noise was calibrated",
        "a pair": f"{settings.vendor_seconds} s each, ours in slices of {SLICE:g} s as `bench` "
        f"takes them; a fresh process for each side, one at a time, in alternating order",
        **_load(),
        **describe(),
    }


def _load() -> dict[str, str]:
    if not hasattr(os, "getloadavg"):  # Windows
        return {}
    return {"load before it began": f"{os.getloadavg()[0]:.2f}"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trust", description="Measure whether the harness can be trusted."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".onnx or .xml")
    parser.add_argument("--runs", type=int, default=20, help="races of each kind")
    parser.add_argument("--rounds", type=int, default=20, help="of each race; at least 6")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of measuring a candidate in a race"
    )
    parser.add_argument(
        "--comparisons", type=int, default=10, help="with each vendor's tool; at least 6"
    )
    parser.add_argument(
        "--vendor-seconds", type=int, default=2, help="of measuring a side of a comparison"
    )
    parser.add_argument("--batch", type=int, default=1, help="images a call")
    parser.add_argument("--threads", type=int, default=usable_threads(), help="of a call")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
