"""``python -m benchmarks.forms RESULTS --out PAGE``: the chosen form against the fastest."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import result
from benchmarks.forms.standing import MOST, Standing, standings
from benchmarks.generated_page import GeneratedPage, Grid
from slide_deploy.errors import SlideDeployError

COMMAND = "make bench-forms"
SUITES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.toml")))

_HEADERS = (
    *(("network", False), ("target", False), ("auto, ms", True), ("fastest form", False)),
    *(("auto / fastest", True), ("from", True), ("to", True), ("", False)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 if a chosen form is certainly too slow, 2 if a result cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forms")
    parser.add_argument("folder", type=Path, help="of the results, SUITE.json each")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    chosen = parser.parse_args(arguments)
    try:
        runs = result.read_suites(chosen.folder, SUITES, COMMAND)
        found = [each for suite, run in runs.items() for each in standings(suite, run)]
        grid = table(found)
        grid.print()
        if chosen.out is not None:
            conditions = {"command": f"`{COMMAND}`, a run for each suite in `benchmarks/forms/`"}
            machine = next(iter(runs.values())).machine
            GeneratedPage(chosen.out, COMMAND).update([grid], conditions | machine)
            print(f"written: {chosen.out}")
    except SlideDeployError as error:
        print(error, file=sys.stderr)
        return 2
    return int(any(each.ratio.interval.low > MOST for each in found))


def table(found: Sequence[Standing]) -> Grid:
    """All networks on all runtimes."""
    return Grid(
        "What auto takes, against the fastest form of the whole network",
        _HEADERS,
        tuple(map(_row, found)),
        f"Medians over the rounds of the ratio of both candidates' medians, with 95 % intervals. "
        f"The fastest form is picked by the same run, so that a ratio errs upwards. It may be "
        f"{MOST:g} at most.",
    )


def _row(each: Standing) -> tuple[str, ...]:
    interval = each.ratio.interval
    return (
        each.network,
        each.target,
        f"{each.seconds * 1e3:.3f}",
        each.best,
        f"{each.ratio.value:.3f}",
        f"{interval.low:.3f}",
        f"{interval.high:.3f}",
        each.verdict,
    )


if __name__ == "__main__":
    sys.exit(main())
