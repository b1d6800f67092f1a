"""``python -m studies.performance RESULTS --out PAGE``: ratios from results of suites."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import result
from benchmarks.generated_page import GeneratedPage, page_command, page_of
from benchmarks.report.picture import draw
from studies.performance.headline import headline
from studies.performance.ratios import find
from studies.performance.rows import ACCURACY, ROWS, SUITES
from studies.performance.tables import medians, ratios

COMMAND = "make bench-export"


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Print and write the ratios. Return 2 if a result cannot be used; low ratios are no error."""
    parser = argparse.ArgumentParser(prog="python -m studies.performance")
    parser.add_argument("folder", type=Path, help="folder of the results, SUITE.json each")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    parser.add_argument("--headline", type=Path, help="page with the main figures: the README")
    parser.add_argument("--pictures", type=Path, help="folder for the plots of accuracy")
    chosen = parser.parse_args(arguments)
    runs = result.read_suites(chosen.folder, SUITES, COMMAND)
    table = ratios([find(row, runs[row.suite]) for row in ROWS if row.suite in runs])
    table.print()
    if (page := page_of(chosen.out, COMMAND)) is not None:
        grids = [table, *(medians(suite, run) for suite, run in runs.items())]
        conditions = {
            "command": f"`{COMMAND}`, a run for each suite in `benchmarks/baselines/`",
            "suites": ", ".join(runs),
        }
        page.update(grids, conditions | next(iter(runs.values())).machine)
        print(f"written: {page.path}")
        if chosen.headline is not None:
            few = headline(page.path.read_text(encoding="utf-8"))
            GeneratedPage(chosen.headline, COMMAND).update([few])
            print(f"written: {chosen.headline}")
    if chosen.pictures is not None and ACCURACY in runs:
        for path in draw(runs[ACCURACY], chosen.pictures):
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
