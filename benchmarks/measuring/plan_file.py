"""Reads and writes the plan of a race as JSON, for bundles."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measuring.race import RacePlan
from benchmarks.record import Artifact, Candidate, Configuration
from slide_deploy.errors import InputError
from slide_deploy.files.reading import parse_json, read_text

# 1: first version.
PLAN_VERSION = 1


def to_json(plan: RacePlan) -> str:
    """Encode a plan as strict JSON that `from_json` reads unchanged."""
    document = {"plan_version": PLAN_VERSION, **asdict(plan)}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_plan(path: Path) -> RacePlan:
    """The plan that a file holds.

    Raises:
        InputError: it is missing, damaged, or of another version.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): unpack the bundle again.") from error
    return from_json(text)


def from_json(text: str) -> RacePlan:
    """Decode a plan.

    Raises:
        InputError: The text is damaged, or has another version.
    """
    try:
        document = parse_json(text)
        version = document.pop("plan_version")
        if version != PLAN_VERSION:
            raise InputError(
                f"The plan has version {version}, but this program reads version {PLAN_VERSION}: "
                f"write the bundle again."
            )
        return RacePlan(
            candidates=tuple(map(_candidate, document.pop("candidates"))),
            artifacts={
                name: Artifact(**fields) for name, fields in document.pop("artifacts").items()
            },
            **document,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The plan is damaged ({error}): unpack the bundle again.") from error


def _candidate(fields: dict[str, Any]) -> Candidate:
    configuration = dict(fields["configuration"])
    # JSON has lists, but no tuples.
    configuration["pinned"] = tuple(configuration["pinned"])
    configuration["shapes"] = {
        name: tuple(shape) for name, shape in configuration["shapes"].items()
    }
    return Candidate(**(fields | {"configuration": Configuration(**configuration)}))
