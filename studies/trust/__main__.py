"""``python -m studies.trust FILE…``: measure the benchmark, and print and write the findings."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.artifact import describe_artifact
from benchmarks.generated_page import page_command, page_of, publish
from benchmarks.record import Configuration
from slide_deploy.machine import describe, usable_threads
from slide_deploy.terminal.progress import Steps
from studies.trust.tables import COMMAND, grids
from studies.trust.trial import SLICE, TrustSettings, TrustSubject, examine, steps, subject


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Run the trials. Return 1 if the benchmark cannot be trusted here, 2 without findings."""
    chosen = _parser().parse_args(arguments)
    settings = TrustSettings(
        runs=chosen.runs,
        rounds=chosen.rounds,
        seconds=chosen.seconds,
        comparisons=chosen.comparisons,
        vendor_seconds=chosen.vendor_seconds,
        configuration=Configuration(threads=chosen.threads, batch=chosen.batch),
    )
    subjects = [subject(path) for path in chosen.files]
    page = page_of(chosen.out, COMMAND)
    conditions = _conditions(subjects, settings, sys.argv[1:] if arguments is None else arguments)
    with Steps(False, steps(subjects, settings)) as step:
        findings = examine(subjects, settings, step)
    publish(page, grids(findings), conditions)
    return 0 if findings.accepted else 1


def _conditions(
    subjects: Sequence[TrustSubject], settings: TrustSettings, arguments: Sequence[str]
) -> dict[str, str]:
    """Return facts about the run. They include the load before it begins."""
    configuration = settings.configuration
    artifacts = [describe_artifact(each.path) for each in subjects]
    load = {}
    if hasattr(os, "getloadavg"):  # Windows has no load average
        load = {"load before the start": f"{os.getloadavg()[0]:.2f}"}
    return {
        "command": f"`make bench-trust`: `python -m studies.trust {shlex.join(arguments)}`",
        "files": ", ".join(f"{each.name} (sha256 {each.sha256[:12]})" for each in artifacts),
        "candidates": f"threads {configuration.threads}, batch {configuration.batch}, "
        f"{configuration.precision}",
        "race": f"two processes, {settings.rounds} rounds, {settings.seconds:g} s of measuring "
        f"each; the defaults of `bench` are 20 rounds and 10 s; no noise was calibrated",
        "pair": f"{settings.vendor_seconds} s each, ours in slices of {SLICE:g} s as in `bench`; "
        f"a new process for each side, one at a time, in alternating order",
        **load,
        **describe(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies.trust",
        description="Measure whether the benchmark can be trusted.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".onnx or .xml")
    parser.add_argument("--runs", type=int, default=20, help="races of each kind")
    parser.add_argument("--rounds", type=int, default=20, help="rounds per race; at least 6")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="measuring time of a candidate in a race"
    )
    parser.add_argument(
        "--comparisons", type=int, default=10, help="pairs with each vendor's tool; at least 6"
    )
    parser.add_argument(
        "--vendor-seconds", type=int, default=2, help="measuring time of each side of a pair"
    )
    parser.add_argument("--batch", type=int, default=1, help="images per call")
    parser.add_argument("--threads", type=int, default=usable_threads(), help="threads per call")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
