"""``python -m studies.forms RESULTS --out PAGE``: the chosen form compared with the fastest."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import result
from benchmarks.generated_page import Grid, page_command, page_of, publish, ratio_cells
from slide_deploy.terminal.console import figures, texts
from studies.forms.standing import MOST, Standing, standings

COMMAND = "make bench-forms"
SUITES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.toml")))

_HEADERS = (
    *texts("network", "target"),
    *figures("auto, ms"),
    *texts("fastest form"),
    *figures("auto / fastest", "from", "to"),
    *texts(""),
)


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Print and write the table. Return 1 if a chosen form is too slow, 2 on bad results."""
    parser = argparse.ArgumentParser(prog="python -m studies.forms")
    parser.add_argument("folder", type=Path, help="folder of the results, SUITE.json each")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    chosen = parser.parse_args(arguments)
    runs = result.read_suites(chosen.folder, SUITES, COMMAND)
    found = [each for suite, run in runs.items() for each in standings(suite, run)]
    conditions = {"command": f"`{COMMAND}`, a run for each suite in `studies/forms/`"}
    machine = next(iter(runs.values())).machine
    publish(page_of(chosen.out, COMMAND), [table(found)], conditions | machine)
    return int(any(each.ratio.interval.low > MOST for each in found))


def table(found: Sequence[Standing]) -> Grid:
    """Return a table of all networks on all runtimes."""
    return Grid(
        "The choice of auto, compared with the fastest form of the whole network",
        _HEADERS,
        tuple(map(_row, found)),
        f"Medians over the rounds of the ratio of both candidates' medians, with 95 % intervals. "
        f"The fastest form is chosen from the same run, so that ratios are biased upwards. A ratio "
        f"may be {MOST:g} or less.",
    )


def _row(each: Standing) -> tuple[str, ...]:
    milliseconds = f"{each.seconds * 1e3:.3f}"
    ratio = ratio_cells(each.ratio, 3)
    return each.network, each.target, milliseconds, each.best, *ratio, each.verdict


if __name__ == "__main__":
    sys.exit(main())
