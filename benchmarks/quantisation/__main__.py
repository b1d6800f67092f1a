"""``python -m benchmarks.quantisation FOLDER --out PAGE``: race files with families in int8.

The files come from ``python -m slide_deploy.tasks.quantised_files``.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import result
from benchmarks.artifact import describe_artifact
from benchmarks.generated_page import GeneratedPage
from benchmarks.measuring.race import RacePlan, race
from benchmarks.network_files import folders
from benchmarks.quantisation.record import WrittenFamily, read
from benchmarks.quantisation.table import rows, table
from benchmarks.record import Candidate, Configuration, Run
from benchmarks.statistics import LEAST_ROUNDS
from slide_deploy.errors import InputError, SlideDeployError
from slide_deploy.files.writing import require_writable
from slide_deploy.machine import usable_threads
from slide_deploy.terminal.progress import Steps

COMMAND = "make bench-quantisation"
RESULT = "run.json"
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Race and write tables. Return 1 if other families beat a format's, 2 on bad results."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.rounds < LEAST_ROUNDS:
        parser.error(f"give at least {LEAST_ROUNDS} --rounds")
    page = None if chosen.out is None else GeneratedPage(chosen.out, COMMAND)
    try:
        if page is not None:
            page.around()  # fails before minutes are spent on races
            require_writable(page.path)
        places = folders(chosen.folder, COMMAND)
        if not chosen.no_race:
            with Steps(False, sum(_plan(each, chosen).steps for each in places)) as step:
                for place in places:
                    _race(place, chosen, step)
        written = [read(place) for place in places]
        runs = [_result(place) for place in places]
        found = [rows(*each) for each in zip(written, runs, strict=True)]
        grids = [table(*each) for each in zip(written, found, strict=True)]
        for grid in grids:
            grid.print()
        if page is not None:
            page.update(grids, _conditions(written, runs))
            print(f"written: {page.path}")
    except SlideDeployError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the page was not changed.", file=sys.stderr)
        return INTERRUPTED
    return int(any(row.is_better for each in found for row in each))


def _plan(place: Path, chosen: argparse.Namespace) -> RacePlan:
    written = read(place)
    configuration = Configuration(threads=chosen.threads)
    candidates = tuple(
        Candidate(each.name, str(place / each.file), written.target, configuration)
        for each in written.variants
        if each.is_raced
    )
    return RacePlan(
        candidates,
        {each.name: describe_artifact(Path(each.path)) for each in candidates},
        seconds=chosen.seconds,
        rounds=chosen.rounds,
        warm_up=chosen.warm_up,
    )


def _race(place: Path, chosen: argparse.Namespace, step: Callable[[str], None]) -> None:
    """Race the files of a format, and write the result beside them."""
    plan = _plan(place, chosen)
    run = race(plan, lambda text: step(f"{place.parent.name}, {place.name}: {text}"))
    if run.interrupted:
        raise KeyboardInterrupt
    result.write(run, place / RESULT)


def _result(place: Path) -> Run:
    path = place / RESULT
    if not path.exists():
        raise InputError(f"{place} contains no result of a race: remove --no-race.")
    return result.read(path)


def _conditions(written: Sequence[WrittenFamily], runs: Sequence[Run]) -> dict[str, str]:
    measured = [each for run in runs for each in run.measurements]
    threads = {each.candidate.configuration.threads for each in measured}
    rounds = {len(each.rounds) for each in measured if each.rounds}
    small = [each.network for each in written if each.quick]
    return {
        "command": f"`{COMMAND}`, a run for each network and runtime, a process for each file",
        **({"too small for conclusions": ", ".join(dict.fromkeys(small))} if small else {}),
        "calibrated on": ", ".join(dict.fromkeys(each.examples for each in written)),
        "threads": ", ".join(map(str, sorted(threads))),
        "rounds": ", ".join(map(str, sorted(rounds))),
        **runs[0].machine,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantisation")
    parser.add_argument("folder", type=Path, help="folder of the files")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    parser.add_argument("--no-race", action="store_true", help="use the results of earlier races")
    parser.add_argument("--rounds", type=int, default=12, help="at least 6")
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time per file")
    parser.add_argument("--warm-up", type=float, default=1.0, help="maximum seconds of warm-up")
    parser.add_argument("--threads", type=int, default=usable_threads(), help="threads per call")
    return parser


if __name__ == "__main__":
    sys.exit(main())
