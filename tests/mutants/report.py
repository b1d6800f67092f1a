"""The table of mutants: a row for each kind, a column for each format, and what caught it."""

from collections.abc import Sequence

from rich.table import Table

from slide_deploy.terminal.console import table
from tests.mutants.judge import Outcome
from tests.mutants.mutant import REFUSED, Mutant

Row = tuple[Mutant, str, Outcome]

TITLES: dict[str, str] = {
    "onnx": "ONNX",
    "openvino": "OpenVINO",
    "coreml": "Core ML",
    "litert": "LiteRT",
}
LEGEND = """\
SD…: the rule of check that is broken; +n: and others. dB: parity's signal-to-noise ratio on the
worst input. refused: check cannot read the file. no run: nor can the runtime. -: no such damage."""
_NOBODY = "[bold red]nobody[/]"


def as_table(rows: Sequence[Row]) -> Table:
    """The table of what caught each mutant."""
    formats = [format for format in TITLES if any(format == held for _, held, _ in rows)]
    grid = table("", [("damage", False), *((TITLES[format], False) for format in formats)])
    kinds: dict[str, dict[str, str]] = {}
    for mutant, format, outcome in rows:
        kinds.setdefault(mutant.name, {})[format] = cell(outcome)
    for name, cells in kinds.items():
        grid.add_row(name, *(cells.get(format, "-") for format in formats))
    # Names are shown in full, because --only needs them.
    grid.columns[0].no_wrap = True
    return grid


def cell(outcome: Outcome) -> str:
    """What caught a mutant, in a few words."""
    first, *others = outcome.check.split() or [""]
    check = "refused" if first == REFUSED else first + (f" +{len(others)}" if others else "")
    figure, _, _ = outcome.parity.partition(",")
    parity = "no run" if figure == REFUSED else figure
    leaked = f"[bold red]{outcome.leaked}[/]" if outcome.leaked else ""
    return ", ".join(filter(None, (check, parity, leaked))) or _NOBODY


def summary(rows: Sequence[Row]) -> str:
    """The number of mutants, and how many each catcher found."""
    kinds = len({mutant.name for mutant, _, _ in rows})
    counts = {
        who: sum(outcome.caught_by == who for _, _, outcome in rows)
        for who in ("check", "parity", "both", "")
    }
    return (
        f"{kinds} kinds of damage, {len(rows)} files: {counts['check']} caught by check, "
        f"{counts['parity']} by parity, {counts['both']} by both, {counts['']} survive."
    )
