"""Model files to race, their records and races.

The command ``files`` of a study writes a folder for each network and format, with a record in it.
The study's main command races the files of the record.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import result
from benchmarks.artifact import describe_artifact
from benchmarks.measuring.race import OnStep, RacePlan, race
from benchmarks.record import Candidate, Configuration, Run
from slide_deploy.errors import InputError
from slide_deploy.files.reading import read_json
from slide_deploy.files.validation import validated
from slide_deploy.files.writing import write_text
from slide_deploy.machine import usable_threads
from studies.passes.networks import NETWORKS

RECORD = "files.json"
T = TypeVar("T")


def write_record(record: Any, path: Path) -> None:
    """Write a record, a dataclass of plain values, as JSON."""
    write_text(path, json.dumps(asdict(record), indent=2) + "\n")


def read_record(kind: type[T], path: Path, command: str) -> T:
    """Read a record.

    Args:
        kind: Its dataclass.
        path: Path of the file.
        command: The command that writes it, for the error message.

    Raises:
        InputError: The record is missing or damaged.
    """
    try:
        return validated(kind, read_json(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a record of {command} ({error}): delete it and write the files again."
        ) from error


def folders(place: Path, command: str) -> tuple[Path, ...]:
    """Return the folders of all networks and formats, in the order of ``NETWORKS``.

    Args:
        place: The folder with ``NETWORK/FORMAT`` subfolders.
        command: The command that writes them, for the error message.

    Raises:
        InputError: There is no such folder.
    """
    order = {each.name: index for index, each in enumerate(NETWORKS)}
    found = [path.parent for path in place.glob(f"*/*/{RECORD}")]
    if not found:
        raise InputError(f"{place} contains no files of networks: run {command}.")
    return tuple(
        sorted(found, key=lambda each: (order.get(each.parent.name, len(order)), each.name))
    )


def race_parser(program: str, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """Return the parser of a command that races files, with defaults of rounds and seconds."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("folder", type=Path, help="folder of the files")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    parser.add_argument("--no-race", action="store_true", help="use the results of earlier races")
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds per process; at least 6")
    parser.add_argument("--seconds", type=float, default=seconds, help="measuring time per process")
    parser.add_argument("--warm-up", type=float, default=1.0, help="maximum seconds of warm-up")
    parser.add_argument("--threads", type=int, default=usable_threads(), help="threads per call")
    return parser


def race_plan(files: Mapping[str, Path], target: str, chosen: argparse.Namespace) -> RacePlan:
    """Return the plan of a race of files, by name, with the options of ``race_parser``."""
    configuration = Configuration(threads=chosen.threads)
    return RacePlan(
        tuple(Candidate(name, str(path), target, configuration) for name, path in files.items()),
        {name: describe_artifact(path) for name, path in files.items()},
        seconds=chosen.seconds,
        rounds=chosen.rounds,
        warm_up=chosen.warm_up,
    )


def race_into(path: Path, plan: RacePlan, step: OnStep, title: str) -> None:
    """Run a race and write its result; steps begin with the title. Ctrl-C writes nothing."""
    run = race(plan, lambda text: step(f"{title}: {text}"))
    if run.interrupted:
        raise KeyboardInterrupt
    result.write(run, path)


def conditions(
    command: str, quick: Iterable[str], runs: Sequence[Run], **more: str
) -> dict[str, str]:
    """Return the facts about races for a page.

    Args:
        command: The command that makes the page.
        quick: Names of networks with their quick size.
        runs: The races.
        more: Facts of one command. Underscores in their names become spaces.
    """
    measured = [each for run in runs for each in run.measurements]
    threads = sorted({each.candidate.configuration.threads for each in measured})
    rounds = sorted({len(each.rounds) for each in measured if each.rounds})
    small = ", ".join(dict.fromkeys(quick))
    return {
        "command": command,
        **({"too small for conclusions": small} if small else {}),
        **{name.replace("_", " "): text for name, text in more.items()},
        "threads": ", ".join(map(str, threads)),
        "rounds of each process": ", ".join(map(str, rounds)),
        **runs[0].machine,
    }
