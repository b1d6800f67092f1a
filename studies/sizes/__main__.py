"""``python -m studies.sizes FOLDER --out PAGE``: export every published size to every format."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.generated_page import Grid, page_command, page_of, publish
from slide_deploy.errors import InputError
from slide_deploy.hosts.host import Architecture
from slide_deploy.hosts.registry import known_hosts
from slide_deploy.machine import describe
from slide_deploy.terminal.console import figures, texts
from slide_deploy.terminal.progress import Steps
from studies.network_files import read_record, write_record
from studies.sizes.exported import Exported, export_size

COMMAND = "make bench-sizes"
# Maximum relative difference between counted and recorded multiply-accumulates.
_MOST_APART = 0.01
_GIB = 2**30


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Export the sizes and write the table. Return 1 if a size differs from its record."""
    parser = argparse.ArgumentParser(prog="python -m studies.sizes")
    parser.add_argument("folder", type=Path, help="folder of the results, NAME.json each")
    parser.add_argument("--out", type=Path, help="page whose figures are replaced")
    parser.add_argument(
        "--only", action="append", default=[], help="size to export, repeatable; default: all"
    )
    parser.add_argument("--again", action="store_true", help="export sizes with a result again")
    chosen = parser.parse_args(arguments)
    page = page_of(chosen.out, COMMAND)
    sizes = [each for host in known_hosts() for each in host.published]
    for name in set(chosen.only) - {each.name for each in sizes}:
        raise InputError(f"There is no published size {name}: see slide-deploy models.")
    wanted = [each for each in sizes if not chosen.only or each.name in chosen.only]
    kept = {each.name: chosen.folder / f"{each.name}.json" for each in sizes}
    missing = [each for each in wanted if chosen.again or not kept[each.name].exists()]
    with Steps(False, len(missing)) as step:
        for size in missing:
            step(size.name)
            work = chosen.folder / size.name
            write_record(export_size(size, work), kept[size.name])
            shutil.rmtree(work)
    found = [
        (size, read_record(Exported, kept[size.name], COMMAND))
        for size in sizes
        if kept[size.name].exists()
    ]
    conditions = {"command": f"`{COMMAND}`, a process for each size"} | describe()
    publish(page, [table(found)], conditions)
    return int(not all(as_recorded(*each) for each in found))


def as_recorded(size: Architecture, found: Exported) -> bool:
    """Return whether parameters and multiply-accumulates agree with the record of the size."""
    expected = size.file_gmacs or size.gmacs
    if expected is None or found.parameters != size.parameters:
        return found.parameters == size.parameters
    return abs(found.macs / 1e9 / expected - 1) <= _MOST_APART


def table(found: Sequence[tuple[Architecture, Exported]]) -> Grid:
    """Return a table of all sizes."""
    counts = figures("parameters", "published", "GMACs", "in the file", "published")
    costs = figures("seconds", "peak, GiB", "worst error")
    return Grid(
        "Every published size, exported to every format and verified",
        (*texts("size"), *counts, *costs, *texts("")),
        tuple(_row(*each) for each in found),
        "Parameters are those of the trained network. GMACs are 10^9 multiply-adds of the folded "
        "network, from the record, and counted in an ONNX file without passes. The worst error is "
        "the largest of all files compared with float64, divided by the largest output.",
    )


def _row(size: Architecture, found: Exported) -> tuple[str, ...]:
    return (
        size.name,
        f"{found.parameters:,}",
        size.paper_parameters,
        "" if size.gmacs is None else f"{size.gmacs:.2f}",
        f"{found.macs / 1e9:.2f}",
        "" if size.paper_gflops is None else f"{size.paper_gflops:.1f}",
        f"{found.seconds:.0f}",
        f"{found.peak_bytes / _GIB:.1f}",
        f"{found.worst:.0e}",
        "" if as_recorded(size, found) else "differs",
    )


if __name__ == "__main__":
    sys.exit(main())
