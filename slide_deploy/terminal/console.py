"""How results look on a terminal: tables that fit it, and 100 columns elsewhere."""

import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from textwrap import fill

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from slide_deploy.backends.doctor import Finding
from slide_deploy.terminal.printable import printable
from slide_deploy.terminal.tables import FittingTable
from slide_deploy.verification.noise import LayerNoise, worst_first
from slide_deploy.verification.parity import Verification

WIDTH = 100
# Of what objects print as: Python's prompt and notebooks have that much.
NARROW = 80
# Below it nothing can be read.
_NARROWEST = 30


def stdout() -> Console:
    """Where results go."""
    return _console(stderr=False)


def stderr() -> Console:
    """Where progress and errors go."""
    return _console(stderr=True)


class _PlainConsole(Console):
    """A console whose texts may come from strangers: they give no orders to the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """The parts of what is printed; what rich itself tells the terminal has no text."""
        for part in super().render(renderable, options):
            yield part if part.control else part._replace(text=printable(part.text))


def _console(stderr: bool) -> Console:
    # The stream as it is now: converters are run with sys.stderr redirected, progress goes on.
    stream = sys.stderr if stderr else sys.stdout
    # Names of files and layers are printed as they are, also where they hold colons.
    console = _PlainConsole(file=stream, highlight=False, emoji=False, soft_wrap=True)
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        console.width = max(int(asked), _NARROWEST)
    else:  # a pipe or a log has no width of its own
        console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def as_text(*parts: RenderableType) -> str:
    """Tables and lines as one plain text, 80 columns wide; longer lines go on below, indented."""
    console = _PlainConsole(file=StringIO(), width=NARROW, color_system=None, emoji=False)
    with console.capture() as capture:
        for part in parts:
            if isinstance(part, str):
                part = Text(fill(part, NARROW, subsequent_indent="  ", break_long_words=False))
                console.print(part, soft_wrap=True)
            else:
                console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")


def table(title: str, columns: Iterable[tuple[str, bool]]) -> Table:
    """An empty table.

    Args:
        title: above it, left.
        columns: header, and whether the column holds figures.
    """
    grid = FittingTable(title)
    for header, figures in columns:
        grid.add(header, figures)
    return grid


def verdict(passed: bool) -> str:
    """The word for an outcome, coloured where the terminal can."""
    return "[green]pass[/]" if passed else "[bold red]FAIL[/]"


def verification_table(title: str, verifications: Iterable[tuple[str, Verification]]) -> Table:
    """One line a format: the worst figures of all cases and outputs."""
    verifications = tuple(verifications)
    graded = any(each.cases and each.worst.top1 is not None for _, each in verifications)
    grid = table(
        title,
        [
            ("format", False),
            ("runs on", False),
            ("cases", True),
            ("max abs", True),
            ("max rel", True),
            ("SNR dB", True),
            *([("top-1", True)] if graded else []),
            ("", False),
        ],
    )
    for name, verification in verifications:
        if not verification.cases:
            cells = ["–"] * (6 if graded else 5)
            grid.add_row(name, "nothing here", "0", *cells[1:], "unproven")
            continue
        worst = verification.worst
        grid.add_row(
            name,
            f"{verification.runtime} {verification.version}",
            str(len({case.name for case in verification.cases})),
            f"{worst.max_absolute:.1e}",
            f"{worst.max_relative:.1e}",
            f"{worst.snr_db:.0f}",
            *([_share(worst.top1)] if graded else []),
            verdict(verification.passed),
        )
    return grid


def case_table(verification: Verification) -> Table:
    """One line a case of one file, and a line for each output where it has several."""
    several = len(verification.outputs) > 1
    graded = verification.worst.top1 is not None
    grid = table(
        f"{verification.runtime} {verification.version}; allowed: max rel "
        f"{_percent(verification.limit.relative)}, SNR {verification.limit.snr_db:.0f} dB",
        [
            ("input", False),
            *([("output", False)] if several else []),
            ("batch", True),
            ("max abs", True),
            ("max rel", True),
            ("SNR dB", True),
            *([("top-1", True)] if graded else []),
            ("", False),
        ],
    )
    for case in verification.cases:
        agreement = case.agreement
        grid.add_row(
            case.name,
            *([case.output] if several else []),
            str(case.batch),
            f"{agreement.max_absolute:.1e}",
            f"{agreement.max_relative:.1e}",
            f"{agreement.snr_db:.0f}",
            *([_share(agreement.top1)] if graded else []),
            verdict(agreement.within(verification.limit)),
        )
    return grid


# Layers that a table of noise shows.
_NOISIEST = 10


def noise_table(noise: Sequence[LayerNoise]) -> Table:
    """The layers in which most noise arose, the noisiest first."""
    grid = table(
        "Noise by layer, against the trained network in float64",
        [("layer", False), ("reads dB", True), ("SNR dB", True), ("arose here", True)],
    )
    for each in worst_first(noise)[:_NOISIEST]:
        grid.add_row(escape(each.layer), _db(each.reads_db), _db(each.snr_db), _share(each.arose))
    return grid


def noise_line(noise: Sequence[LayerNoise]) -> str:
    """What the table of noise leaves out, a sentence."""
    found = sorted(each.snr_db for each in noise if each.snr_db is not None)
    if not found:
        return f"noise: none of {len(noise)} layers is found in the file"
    quiet = len(worst_first(noise)) - _NOISIEST
    others = f"; {quiet} layers with less noise are not shown" if quiet > 0 else ""
    return (
        f"noise: {len(found)} of {len(noise)} layers are found, SNR {found[0]:.0f} to "
        f"{found[-1]:.0f} dB, median {found[len(found) // 2]:.0f} dB{others}"
    )


def _db(ratio: float | None) -> str:
    return "" if ratio is None else "exact" if ratio == math.inf else f"{ratio:.0f}"


def _percent(share: float) -> str:
    """A share as 15 %; one below a percent as 1e-04."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else f"{share:.0e}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def findings_table(findings: Iterable[Finding]) -> Table:
    """One line a finding of the doctor, parts of the report one after the other."""
    grid = table("", [("", False), ("", False), ("", False)])
    grid.show_header = False
    parts: dict[str, list[Finding]] = {}
    for finding in findings:
        parts.setdefault(finding.part, []).append(finding)
    for part, members in parts.items():
        grid.add_row(f"[bold]{escape(part)}[/]")
        for finding in members:
            grid.add_row(f"  {escape(finding.subject)}", _mark(finding), escape(finding.detail))
    return grid


def _mark(finding: Finding) -> str:
    if finding.ok is None:
        return ""
    return "[green]yes[/]" if finding.ok else "[yellow]no[/]"
