"""``python -m studies.existing RESULTS --out PAGE``: folded files beside our own export."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import result
from benchmarks.generated_page import Grid, page_command, page_of, publish
from benchmarks.statistics import Estimate
from studies.existing.races import MOST, NETWORKS, FoldedStanding, standings

COMMAND = "make bench-existing"

_HEADERS = (
    *(("network", False), ("target", False), ("exporter", False), ("our export, ms", True)),
    *(("folded file / ours", True), ("95 %", True)),
    *(("file as it is / ours", True), ("95 %", True), ("", False)),
)


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Print and write the table. Return 1 if a folded file is too slow, 2 on bad results."""
    parser = argparse.ArgumentParser(prog="python -m studies.existing")
    parser.add_argument("folder", type=Path, help="folder of the results, NETWORK.json each")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    chosen = parser.parse_args(arguments)
    runs = result.read_suites(chosen.folder, NETWORKS, COMMAND)
    found = [each for network, run in runs.items() for each in standings(network, run)]
    conditions = {"command": f"`{COMMAND}`, a run for each network"}
    machine = next(iter(runs.values())).machine
    publish(page_of(chosen.out, COMMAND), [table(found)], conditions | machine)
    return int(any(each.folded.interval.low > MOST for each in found))


def table(found: Sequence[FoldedStanding]) -> Grid:
    """Return a table of all networks, targets and exporters."""
    return Grid(
        "Files of PyTorch's exporters, folded and as they are, compared with our export",
        _HEADERS,
        tuple(map(_row, found)),
        f"Medians over the rounds of the ratio of both candidates' medians, with 95 % intervals. "
        f"The ratio of a folded file may be {MOST:g} or less.",
    )


def _row(each: FoldedStanding) -> tuple[str, ...]:
    return (
        each.network,
        each.target,
        each.exporter,
        f"{each.seconds * 1e3:.3f}",
        *_figures(each.folded),
        *_figures(each.as_it_is),
        each.verdict,
    )


def _figures(ratio: Estimate) -> tuple[str, str]:
    return f"{ratio.value:.3f}", f"{ratio.interval.low:.3f}–{ratio.interval.high:.3f}"


if __name__ == "__main__":
    sys.exit(main())
