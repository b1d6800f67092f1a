"""``python -m studies.passes FOLDER --out PAGE``: race files with and without passes.

The files come from ``python -m studies.passes.files``.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import result
from benchmarks.generated_page import Grid, page_command, page_of, publish
from benchmarks.record import Run
from benchmarks.statistics import LEAST_ROUNDS
from slide_deploy.errors import InputError
from slide_deploy.terminal.progress import Steps
from studies.network_files import conditions, folders, race_into, race_parser, race_plan
from studies.passes import tables
from studies.passes.gains import ALONE, LEAST, LEFT_OUT, PassStanding, gains, races, standing
from studies.passes.levels import LEAST_PROCESSES
from studies.passes.record import WrittenVariant, read

COMMAND = "make bench-passes"
# The files of a network in one format, and the runs of its races by name of the race.
_Raced = tuple[WrittenVariant, dict[str, list[Run]]]


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Race and write the tables. Return 1 if a network is certainly too slow, 2 on bad results."""
    parser = race_parser("python -m studies.passes", rounds=8, seconds=1.6)
    parser.add_argument(
        "--network", action="append", default=[], help="network to race, repeatable; default: all"
    )
    parser.add_argument(
        "--processes", type=int, default=3, help="consecutive processes per file; at least 2"
    )
    chosen = parser.parse_args(arguments)
    if chosen.processes < LEAST_PROCESSES or chosen.rounds < LEAST_ROUNDS:
        parser.error(f"give at least {LEAST_PROCESSES} --processes and {LEAST_ROUNDS} --rounds")
    page = page_of(chosen.out, COMMAND)
    places = folders(chosen.folder, COMMAND)
    for name in set(chosen.network) - {place.parent.name for place in places}:
        raise InputError(f"There are no files of {name}: write them first.")
    raced = [place for place in places if not chosen.network or place.parent.name in chosen.network]
    with Steps(False, sum(_steps(place, chosen) for place in raced)) as step:
        for place in () if chosen.no_race else raced:
            _race(place, chosen, step)
    runs = [(read(place), _runs(place)) for place in places if _runs(place)]
    if not runs:
        raise InputError(f"{chosen.folder} contains no result of a race: remove --no-race.")
    found = [standing(*each) for each in runs]
    publish(page, _grids(runs, found), _conditions(runs))
    return int(any(each.against_plain.interval.high < LEAST for each in found))


def _results(place: Path, race: str) -> list[Path]:
    """Return the result files of a race."""
    return sorted(place.glob(f"{race.replace(' ', '-')}.*.run.json"))


def _runs(place: Path) -> dict[str, list[Run]]:
    """Return the results of the races of a folder, by name of the race."""
    found = {race: _results(place, race) for race in (LEFT_OUT, ALONE)}
    return {race: list(map(result.read, paths)) for race, paths in found.items() if paths}


def _steps(place: Path, chosen: argparse.Namespace) -> int:
    raced = races(read(place)).values()
    return int(chosen.processes * sum(len(candidates) + chosen.rounds for candidates in raced))


def _race(place: Path, chosen: argparse.Namespace, step: Callable[[str], None]) -> None:
    """Race the files of one network in one format, and write the results beside them."""
    written = read(place)
    for name, files in races(written).items():
        paths = {variant: place / file for variant, file in files.items()}
        plan = race_plan(paths, written.target, chosen)
        for old in _results(place, name):
            old.unlink()
        for turn in range(chosen.processes):
            # Shuffled, as the process that starts first is slower by one or two per cent.
            order = random.Random(turn).sample(plan.candidates, len(plan.candidates))
            race_into(
                place / f"{name.replace(' ', '-')}.{turn}.run.json",
                replace(plan, candidates=tuple(order), seed=turn),
                step,
                f"{written.network} on {written.target}",
            )


def _grids(runs: Sequence[_Raced], standings: Sequence[PassStanding]) -> list[Grid]:
    found = [gain for each in runs for gain in gains(*each)]
    names = list(dict.fromkeys(name for written, _ in runs for name in written.passes))
    targets = dict.fromkeys(written.target for written, _ in runs)
    return [
        tables.standings(standings),
        tables.passes(names, found),
        *(tables.gains(target, names, found) for target in targets),
    ]


def _conditions(runs: Sequence[_Raced]) -> dict[str, str]:
    processes = sorted({len(repeated) for _, raced in runs for repeated in raced.values()})
    return conditions(
        f"`{COMMAND}`, a run for each network on each runtime",
        (written.network for written, _ in runs if written.quick),
        [run for _, raced in runs for repeated in raced.values() for run in repeated],
        processes_of_each_file=", ".join(map(str, processes)),
    )


if __name__ == "__main__":
    sys.exit(main())
