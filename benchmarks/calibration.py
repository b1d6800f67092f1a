"""Noise of this machine: the ratio between equal candidates, measured and stored.

Two processes that run the same file are not equally fast. They get different memory and have
different neighbours. A gate with a limit below that difference fails by chance.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks.measuring.race import OnStep, RacePlan, race
from benchmarks.record import Candidate
from benchmarks.statistics import LEAST_ROUNDS, noise_of_equals
from slide_deploy.errors import InputError
from slide_deploy.files.folders import require_writable_folder, shared_file
from slide_deploy.files.validation import validated
from slide_deploy.files.writing import require_writable, write_text
from slide_deploy.machine import describe, fingerprint

# With six copies, Student's t is 2.57 (1.96 with infinitely many).
COPIES = 6


def calibrate(candidate: Candidate, plan: RacePlan, on_step: OnStep = lambda _: None) -> float:
    """Race a candidate against copies of itself.

    Args:
        candidate: Any file on the target that will be gated.
        plan: Durations and rounds. Its candidates are not used.
        on_step: Called with a description before each step.

    Returns:
        The factor within which 95 % of the ratios of two equal candidates lie.

    Raises:
        InputError: A copy fails, or there were too few rounds.
        KeyboardInterrupt: The user ended the race.
    """
    copies = tuple(
        replace(candidate, name=f"{candidate.name} #{number + 1}") for number in range(COPIES)
    )
    run = race(
        replace(plan, candidates=copies, profile=False, sustained=0.0),
        lambda step: on_step(f"calibrate: {step}"),
    )
    if run.interrupted:
        raise KeyboardInterrupt
    for each in run.measurements:
        if each.error:
            raise InputError(
                f"{candidate.name} failed during calibration ({each.error}): give another file."
            )
        if len(each.rounds) < LEAST_ROUNDS:
            raise InputError(
                f"{len(each.rounds)} rounds are too few to calibrate: give {LEAST_ROUNDS} or more."
            )
    return noise_of_equals([each.samples for each in run.measurements])


def cache_file() -> Path:
    """Return the path of the stored noise, by machine and target."""
    return user_cache_path("slide-deploy") / "noise.json"


def require_noise_store() -> None:
    """Check that the noise can be stored, before a calibration starts.

    Raises:
        InputError: The file or its folder cannot be written.
    """
    path = cache_file()
    require_writable_folder(path.parent, "XDG_CACHE_HOME")
    if path.exists():
        require_writable(path)


def store_noise(target: str, noise: float) -> None:
    """Store the noise of a target on this machine.

    Raises:
        InputError: The file cannot be written.
    """
    path = cache_file()
    with shared_file(path):
        known = _read()
        known.setdefault(fingerprint(describe()), {})[target] = noise
        write_text(path, json.dumps(known, indent=2) + "\n")


def stored_noise(targets: Sequence[str]) -> float | None:
    """Return the largest stored noise of these targets; None if one was not calibrated here."""
    known = _read().get(fingerprint(describe()), {})
    found = [known.get(target) for target in targets]
    return None if None in found or not found else max(each for each in found if each)


def _read() -> dict[str, dict[str, float]]:
    """Return the stored noise by machine and target; empty if the file is missing or damaged."""
    try:
        return validated(dict[str, dict[str, float]], json.loads(cache_file().read_text()))
    except (OSError, ValueError):
        return {}
