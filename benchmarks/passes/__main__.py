"""``python -m benchmarks.passes FOLDER --out PAGE``: race files with and without passes.

The files come from ``python -m slide_deploy.tasks.pass_files``.
"""

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import result
from benchmarks.artifact import describe_artifact
from benchmarks.generated_page import GeneratedPage, Grid
from benchmarks.measuring.race import RacePlan, race
from benchmarks.network_files import folders
from benchmarks.passes import tables
from benchmarks.passes.gains import ALONE, LEAST, LEFT_OUT, gains, races, standing
from benchmarks.passes.levels import LEAST_PROCESSES
from benchmarks.passes.record import WrittenVariant, read
from benchmarks.record import Candidate, Configuration, Run
from benchmarks.statistics import LEAST_ROUNDS
from slide_deploy.errors import InputError, SlideDeployError
from slide_deploy.files.writing import require_writable
from slide_deploy.machine import usable_threads
from slide_deploy.terminal.progress import Steps

COMMAND = "make bench-passes"
INTERRUPTED = 130
# The files of a network in one format, and the runs of its races by name of the race.
_Raced = tuple[WrittenVariant, dict[str, list[Run]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Race and write the tables. Return 1 if a network is certainly too slow, 2 on bad results."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.processes < LEAST_PROCESSES or chosen.rounds < LEAST_ROUNDS:
        parser.error(f"give at least {LEAST_PROCESSES} --processes and {LEAST_ROUNDS} --rounds")
    page = None if chosen.out is None else GeneratedPage(chosen.out, COMMAND)
    try:
        if page is not None:
            page.around()  # fails before minutes are spent on races
            require_writable(page.path)
        places = list(folders(chosen.folder, COMMAND))
        raced = [] if chosen.no_race else _selected(places, chosen.network)
        with Steps(False, sum(_steps(place, chosen) for place in raced)) as step:
            for place in raced:
                _race(place, chosen, step)
        runs = [(read(place), _runs(place)) for place in places if _runs(place)]
        if not runs:
            raise InputError(f"{chosen.folder} contains no result of a race: remove --no-race.")
        found = [standing(*each) for each in runs]
        for grid in (grids := _grids(runs)):
            grid.print()
        if page is not None:
            page.update(grids, _conditions(runs))
            print(f"written: {page.path}")
    except SlideDeployError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the page was not changed.", file=sys.stderr)
        return INTERRUPTED
    return int(any(each.against_plain.interval.high < LEAST for each in found))


def _selected(places: Sequence[Path], networks: Sequence[str]) -> list[Path]:
    known = {place.parent.name for place in places}
    for name in networks:
        if name not in known:
            raise InputError(f"There are no files of {name}: write them first.")
    return [place for place in places if not networks or place.parent.name in networks]


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
    configuration = Configuration(threads=chosen.threads)
    for name, files in races(written).items():
        candidates = tuple(
            Candidate(variant, str(place / file), written.target, configuration)
            for variant, file in files.items()
        )
        plan = RacePlan(
            candidates,
            {each.name: describe_artifact(Path(each.path)) for each in candidates},
            seconds=chosen.seconds,
            rounds=chosen.rounds,
            warm_up=chosen.warm_up,
        )
        for old in _results(place, name):
            old.unlink()
        for turn in range(chosen.processes):
            # Shuffled, as the process that starts first is slower by one or two per cent.
            order = tuple(random.Random(turn).sample(candidates, len(candidates)))
            run = race(
                replace(plan, candidates=order, seed=turn),
                lambda text: step(f"{written.network} on {written.target}: {text}"),
            )
            if run.interrupted:
                raise KeyboardInterrupt
            result.write(run, place / f"{name.replace(' ', '-')}.{turn}.run.json")


def _grids(runs: Sequence[_Raced]) -> list[Grid]:
    found = [gain for each in runs for gain in gains(*each)]
    names = list(dict.fromkeys(name for written, _ in runs for name in written.passes))
    targets = dict.fromkeys(written.target for written, _ in runs)
    return [
        tables.standings([standing(*each) for each in runs]),
        tables.passes(names, found),
        *(tables.gains(target, names, found) for target in targets),
    ]


def _conditions(runs: Sequence[_Raced]) -> dict[str, str]:
    every = [run for _, raced in runs for repeated in raced.values() for run in repeated]
    measured = [each for run in every for each in run.measurements]
    threads = {each.candidate.configuration.threads for each in measured}
    rounds = {len(each.rounds) for each in measured}
    processes = {len(repeated) for _, raced in runs for repeated in raced.values()}
    small = [written.network for written, _ in runs if written.quick]
    return {
        "command": f"`{COMMAND}`, a run for each network on each runtime",
        **({"too small for conclusions": ", ".join(dict.fromkeys(small))} if small else {}),
        "threads": ", ".join(map(str, sorted(threads))),
        "processes of each file": ", ".join(map(str, sorted(processes))),
        "rounds of each process": ", ".join(map(str, sorted(rounds))),
        **every[0].machine,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passes")
    parser.add_argument("folder", type=Path, help="folder of the files")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    parser.add_argument(
        "--network", action="append", default=[], help="network to race, repeatable; default: all"
    )
    parser.add_argument("--no-race", action="store_true", help="use the results of earlier races")
    parser.add_argument(
        "--processes", type=int, default=3, help="consecutive processes per file; at least 2"
    )
    parser.add_argument("--rounds", type=int, default=8, help="rounds per process; at least 6")
    parser.add_argument("--seconds", type=float, default=1.6, help="measuring time per process")
    parser.add_argument("--warm-up", type=float, default=1.0, help="maximum seconds of warm-up")
    parser.add_argument("--threads", type=int, default=usable_threads(), help="threads per call")
    return parser


if __name__ == "__main__":
    sys.exit(main())
