"""This machine's own noise: what equal candidates differ by, measured and remembered.

Two processes that run the same file are not equally fast, be it for the memory that they were given
or for their neighbours. A gate that fires below that difference fires by chance.
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
from slide_deploy.files.writing import require_writable, write_text
from slide_deploy.machine import describe, fingerprint

# Six levels give a scatter that Student's t can work with (2.57 in place of 1.96).
COPIES = 6


def calibrate(candidate: Candidate, plan: RacePlan, on_step: OnStep = lambda _: None) -> float:
    """Race a candidate against copies of itself.

    Args:
        candidate: any file on the target that will be gated.
        plan: whose times to keep to; its candidates are not used.
        on_step: told what is about to be done.

    Returns:
        The factor that 95 % of the ratios of two equal candidates lie within.

    Raises:
        InputError: if a copy fails, or there were too few rounds.
        KeyboardInterrupt: if the user ends it.
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
            raise InputError(f"{candidate.name} cannot be calibrated with: {each.error}.")
        if len(each.rounds) < LEAST_ROUNDS:
            raise InputError(
                f"{len(each.rounds)} rounds are too few to calibrate: {LEAST_ROUNDS} are needed."
            )
    return noise_of_equals([each.samples for each in run.measurements])


def cache_file() -> Path:
    """Where noise is remembered, by machine and target."""
    return user_cache_path("slide-deploy") / "noise.json"


def require_memory() -> None:
    """Refuse to calibrate where the noise could not be kept.

    Raises:
        InputError: if it could not.
    """
    path = cache_file()
    require_writable_folder(path.parent, "XDG_CACHE_HOME")
    if path.exists():
        require_writable(path)


def remember(target: str, noise: float) -> None:
    """Keep the noise of a target on this machine.

    Raises:
        InputError: if it cannot be kept.
    """
    path = cache_file()
    with shared_file(path):
        known = _read()
        known.setdefault(fingerprint(describe()), {})[target] = noise
        write_text(path, json.dumps(known, indent=2) + "\n")


def remembered(targets: Sequence[str]) -> float | None:
    """The largest noise known of these targets on this machine; None if one was not calibrated."""
    known = _read().get(fingerprint(describe()), {})
    found = [known.get(target) for target in targets]
    return None if None in found or not found else max(each for each in found if each)


def _read() -> dict[str, dict[str, float]]:
    """What is remembered; nothing if the file is missing or damaged, as it can be made again."""
    try:
        content = json.loads(cache_file().read_text())
        return {
            str(machine): {str(target): float(noise) for target, noise in noises.items()}
            for machine, noises in content.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
