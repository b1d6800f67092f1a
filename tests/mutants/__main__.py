"""``python -m tests.mutants``: damage valid files in every way and print what catches it."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from slide_deploy.terminal.console import stdout
from tests.mutants.catalogue import CATALOGUE
from tests.mutants.judge import judge
from tests.mutants.mutant import FORMATS, Mutant
from tests.mutants.report import LEGEND, Row, as_table, summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if a mutant survives, or a runtime's own error reaches the user."""
    torch.set_num_threads(1)
    chosen = _chosen(_parser(), arguments)
    rows = list(_judged(chosen))
    console = stdout()
    console.print(as_table(rows))
    console.print(LEGEND)
    console.print(summary(rows))
    return int(any(not outcome.caught_by or outcome.leaked for _, _, outcome in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--format", choices=FORMATS, help="damage files of this format only")
    parser.add_argument("--only", metavar="NAME", action="append", help="this kind; repeatable")
    return parser


def _chosen(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> list[tuple[Mutant, str]]:
    options = parser.parse_args(arguments)
    unknown = set(options.only or ()) - {mutant.name for mutant in CATALOGUE}
    if unknown:
        parser.error(f"{min(unknown)} is not a kind of damage: run without --only to list them.")
    return [
        (mutant, format)
        for mutant in CATALOGUE
        if not options.only or mutant.name in options.only
        for format in mutant.formats
        if options.format in (None, format)
    ]


def _judged(chosen: Sequence[tuple[Mutant, str]]) -> Iterator[Row]:
    console = stdout()
    columns = (
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar, tempfile.TemporaryDirectory() as folder:
        task = bar.add_task("", total=len(chosen))
        for number, (mutant, format) in enumerate(chosen):
            bar.update(task, description=f"{mutant.name}, {format}")
            with _silent_stderr():
                outcome = judge(mutant, format, Path(folder) / str(number))
            bar.advance(task)
            yield mutant, format, outcome


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard stderr, to which runtimes write about a wrong file without using Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
