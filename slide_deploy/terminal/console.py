"""Output on the terminal: consoles, and the tables that several commands print."""

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
from slide_deploy.verification.parity import Agreement, Verification

WIDTH = 100
# Width of the text form of objects, for Python's prompt and notebooks.
NARROW = 80
# Below this width the output would be unreadable.
_NARROWEST = 30


def stdout() -> Console:
    """Return a console for results, on standard output."""
    return _console(stderr=False)


def stderr() -> Console:
    """Return a console for progress and errors, on standard error."""
    return _console(stderr=True)


class _SafeConsole(Console):
    """A console for text from untrusted files, which must not control the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Make the text of each segment printable; rich's own control segments have no text."""
        for part in super().render(renderable, options):
            yield part if part.control else part._replace(text=printable(part.text))


def _console(stderr: bool) -> Console:
    # The present stream: sys.stderr is redirected while converters run, and progress must still
    # show.
    stream = sys.stderr if stderr else sys.stdout
    # No emoji codes: names of files and layers may contain colons.
    console = _SafeConsole(file=stream, highlight=False, emoji=False, soft_wrap=True)
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        console.width = max(int(asked), _NARROWEST)
    else:  # a pipe or a log has no width of its own
        console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    return console


def as_text(*parts: RenderableType) -> str:
    """Render tables and lines as plain text of 80 columns; wrapped lines are indented."""
    console = _SafeConsole(file=StringIO(), width=NARROW, color_system=None, emoji=False)
    with console.capture() as capture:
        for part in parts:
            if isinstance(part, str):
                part = Text(fill(part, NARROW, subsequent_indent="  ", break_long_words=False))
                console.print(part, soft_wrap=True)
            else:
                console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()).strip("\n")


def table(
    title: str, columns: Iterable[tuple[str, bool]], rows: Iterable[Sequence[str]] = ()
) -> Table:
    """Return a table.

    Args:
        title: text above the table, left-aligned, with markup.
        columns: for each column its header, and whether it holds figures.
        rows: cells of each row, with markup.
    """
    grid = FittingTable(title, columns)
    for row in rows:
        grid.add_row(*row)
    return grid


def texts(*headers: str) -> list[tuple[str, bool]]:
    """Return columns of texts for ``table``."""
    return [(header, False) for header in headers]


def figures(*headers: str) -> list[tuple[str, bool]]:
    """Return columns of figures for ``table``."""
    return [(header, True) for header in headers]


def verdict(passed: bool) -> str:
    """Return "pass" or "FAIL", with markup for colour."""
    return "[green]pass[/]" if passed else "[bold red]FAIL[/]"


def verification_table(title: str, verifications: Iterable[tuple[str, Verification]]) -> Table:
    """Return a table with one row for each format: the worst figures of all cases and outputs."""
    verifications = tuple(verifications)
    graded = any(each.cases and each.worst.top1 is not None for _, each in verifications)
    columns = [*texts("format", "runs on"), *figures("cases", *_agreement_headers(graded))]
    grid = table(title, [*columns, *texts("")])
    for name, verification in verifications:
        if not verification.cases:
            cells = ["–"] * (4 if graded else 3)
            grid.add_row(name, "nothing here", "0", *cells, "unproven")
            continue
        grid.add_row(
            name,
            f"{verification.runtime} {verification.version}",
            str(len({case.name for case in verification.cases})),
            *_agreement_cells(verification.worst, graded),
            verdict(verification.passed),
        )
    return grid


def case_table(verification: Verification) -> Table:
    """Return a table with one row for each case and output of one file."""
    several = len(verification.outputs) > 1
    graded = verification.worst.top1 is not None
    limit = verification.limit
    return table(
        f"{verification.runtime} {verification.version}; allowed: max rel "
        f"{_percent(limit.relative)}, SNR {limit.snr_db:.0f} dB",
        [
            *texts("input", *(["output"] if several else [])),
            *figures("batch", *_agreement_headers(graded)),
            *texts(""),
        ],
        (
            (
                case.name,
                *([case.output] if several else []),
                str(case.batch),
                *_agreement_cells(case.agreement, graded),
                verdict(case.agreement.within(limit)),
            )
            for case in verification.cases
        ),
    )


def _agreement_headers(graded: bool) -> list[str]:
    return ["max abs", "max rel", "SNR dB", *(["top-1"] if graded else [])]


def _agreement_cells(agreement: Agreement, graded: bool) -> list[str]:
    absolute, relative = f"{agreement.max_absolute:.1e}", f"{agreement.max_relative:.1e}"
    share = [_share(agreement.top1)] if graded else []
    return [absolute, relative, f"{agreement.snr_db:.0f}", *share]


# Number of layers in a table of noise.
_SHOWN_LAYERS = 10


def noise_table(noise: Sequence[LayerNoise]) -> Table:
    """Return a table of the layers in which most noise arose, the noisiest first."""
    return table(
        "Noise by layer, against the trained network in float64",
        [*texts("layer"), *figures("reads dB", "SNR dB", "arose here")],
        (
            (escape(each.layer), _db(each.reads_db), _db(each.snr_db), _share(each.arose))
            for each in worst_first(noise)[:_SHOWN_LAYERS]
        ),
    )


def noise_line(noise: Sequence[LayerNoise]) -> str:
    """Summarise the noise of all layers in one line."""
    found = sorted(each.snr_db for each in noise if each.snr_db is not None)
    if not found:
        return f"noise: the file has none of the {len(noise)} layers under its name"
    quiet = len(worst_first(noise)) - _SHOWN_LAYERS
    others = f"; {quiet} layers with less noise are not shown" if quiet > 0 else ""
    return (
        f"noise: {len(found)} of {len(noise)} layers measured, SNR {found[0]:.0f} to "
        f"{found[-1]:.0f} dB, median {found[len(found) // 2]:.0f} dB{others}"
    )


def _db(ratio: float | None) -> str:
    return "" if ratio is None else "exact" if ratio == math.inf else f"{ratio:.0f}"


def _percent(share: float) -> str:
    """Format a fraction as 15 %, or as 1e-04 below one percent."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else f"{share:.0e}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return a table with one row for each finding of ``doctor``, grouped by part."""
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
