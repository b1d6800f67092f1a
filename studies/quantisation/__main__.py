"""``python -m studies.quantisation FOLDER --out PAGE``: race files with families in int8.

The files come from ``python -m studies.quantisation.files``.
"""

import sys
from collections.abc import Sequence

from benchmarks import result
from benchmarks.generated_page import page_command, page_of, publish
from benchmarks.statistics import LEAST_ROUNDS
from slide_deploy.errors import InputError
from slide_deploy.terminal.progress import Steps
from studies.network_files import conditions, folders, race_into, race_parser, race_plan
from studies.quantisation.record import read
from studies.quantisation.table import rows, table

COMMAND = "make bench-quantisation"
RESULT = "run.json"


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Race and write tables. Return 1 if other families beat a format's, 2 on bad results."""
    parser = race_parser("python -m studies.quantisation", rounds=12, seconds=4.0)
    chosen = parser.parse_args(arguments)
    if chosen.rounds < LEAST_ROUNDS:
        parser.error(f"give at least {LEAST_ROUNDS} --rounds")
    page = page_of(chosen.out, COMMAND)
    written = {place: read(place) for place in folders(chosen.folder, COMMAND)}
    plans = {
        place: race_plan(
            {each.name: place / each.file for each in record.variants if each.is_raced},
            record.target,
            chosen,
        )
        for place, record in written.items()
        if not chosen.no_race
    }
    with Steps(False, sum(plan.steps for plan in plans.values())) as step:
        for place, plan in plans.items():
            race_into(place / RESULT, plan, step, f"{place.parent.name}, {place.name}")
    for place in written:
        if not (place / RESULT).exists():
            raise InputError(f"{place} contains no result of a race: remove --no-race.")
    runs = [result.read(place / RESULT) for place in written]
    found = [rows(*each) for each in zip(written.values(), runs, strict=True)]
    facts = conditions(
        f"`{COMMAND}`, a run for each network and runtime, a process for each file",
        (each.network for each in written.values() if each.quick),
        runs,
        calibrated_on=", ".join(dict.fromkeys(each.examples for each in written.values())),
    )
    publish(page, list(map(table, written.values(), found)), facts)
    return int(any(row.is_better for each in found for row in each))


if __name__ == "__main__":
    sys.exit(main())
