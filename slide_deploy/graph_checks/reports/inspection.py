"""The costs of a file as tables."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from slide_deploy.graph_checks.inspect import Inspection
from slide_deploy.graph_checks.readers.limits import short
from slide_deploy.parsing import written
from slide_deploy.terminal.console import table

_ADVICE = "note: the file leaves sizes open: give --shape NAME=1x3x224x224 for its inputs"
_LIMITS = (
    "note: some sizes cannot be inferred from the given ones here: inspect an ONNX file of the "
    "model instead"
)


def inspection_tables(
    path: Path, inspection: Inspection, shapes: Mapping[str, Sequence[int]]
) -> Iterator[RenderableType]:
    """Yield the costs of a file, a note if open sizes leave some unknown, then the operators.

    ``shapes`` are those that the user gave for its inputs, by name.
    """
    given = ", ".join(f"{short(name)}={written(shape)}" for name, shape in shapes.items())
    yield _costs(path, inspection, f"at {given or 'batch 1'}")
    if inspection.uncounted or inspection.unsized:
        yield Text(_ADVICE if not shapes else _LIMITS)
    grid = table("", [("operator", False), ("count", True)])
    for operator, count in inspection.operators:
        grid.add_row(escape(short(operator)), f"{count:,}")
    yield grid


def _costs(path: Path, inspection: Inspection, where: str) -> Table:
    grid = table(escape(short(str(path), 200)), [(escape(where), False), ("", True), ("", False)])
    grid.add_row("parameters", f"{inspection.parameters:,}", "")
    macs = "unknown" if inspection.macs is None else f"{inspection.macs:,}"
    some = f"{inspection.counted_macs:,}" if inspection.counted_macs else ""
    reason = _unknown_because(inspection.uncounted, "operators", some)
    grid.add_row("multiply-accumulates", macs, escape(reason))
    known = inspection.largest_known
    where = "" if known is None else f"{written(known.shape)}, {short(known.name)}"
    size = "" if known is None else f"{known.size:,} bytes"
    if inspection.unsized:
        reason = _unknown_because(
            inspection.unsized, "values", f"{size} ({where})" if where else ""
        )
        grid.add_row("largest activation", "unknown", escape(reason))
    else:
        grid.add_row("largest activation", size or "none", escape(where))
    grid.add_row("depth", f"{inspection.depth:,}", "operators on the longest path")
    grid.add_row("files", f"{inspection.file_bytes:,} bytes", "")
    return grid


def _unknown_because(names: tuple[str, ...], what: str, known: str) -> str:
    """Why a figure is unknown, with a lower bound if there is one; empty if it is known."""
    if not names:
        return ""
    least = f"at least {known}; " if known else ""
    return f"{least}{len(names)} {what} of open size, the first {short(names[0])}"
