"""What a file costs, as tables for people."""

from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from slide_deploy.console import table
from slide_deploy.graph_checks.inspect import Inspection
from slide_deploy.graph_checks.readers.limits import short


def inspection_tables(path: Path, inspection: Inspection) -> Iterator[Table]:
    """The costs, then the operators."""
    yield _costs(path, inspection)
    grid = table("", [("operator", False), ("count", True)])
    for operator, count in inspection.operators:
        grid.add_row(escape(short(operator)), f"{count:,}")
    yield grid


def _costs(path: Path, inspection: Inspection) -> Table:
    grid = table(escape(short(str(path), 200)), [("at batch 1", False), ("", True), ("", False)])
    grid.add_row("parameters", f"{inspection.parameters:,}", "")
    grid.add_row("multiply-accumulates", f"{inspection.macs:,}", _uncounted(inspection))
    largest = inspection.largest
    if largest is None:
        grid.add_row("largest activation", "unknown", "")
    else:
        shape = "x".join(map(str, largest.shape))
        where = escape(short(largest.name))
        grid.add_row("largest activation", f"{largest.size:,} bytes", f"{shape}, {where}")
    grid.add_row("depth", f"{inspection.depth:,}", "operators on the longest path")
    grid.add_row("files", f"{inspection.file_bytes:,} bytes", "")
    return grid


def _uncounted(inspection: Inspection) -> str:
    count = len(inspection.uncounted)
    if not count:
        return ""
    return f"without {count} of open size, the first {escape(short(inspection.uncounted[0]))}"
