"""The command ``tune``, which finds the fastest forms on this machine."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.completion import FORMS, one_of, targets
from slide_deploy.cli.options import DEFAULT_PRECISION, JsonOption, PrecisionOption, QuietOption
from slide_deploy.cli.outputs import Outputs
from slide_deploy.cli.source import Source
from slide_deploy.cli.source_options import takes_source
from slide_deploy.errors import InputError
from slide_deploy.tasks.options import require, require_bench
from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from slide_deploy.tuning.table import Entry


@takes_source
def tune(
    source: Source,
    attention: Annotated[
        list[str] | None,
        typer.Option(
            help="One attention by its size, with random weights; repeat for several. On tokens, "
            "as in Slide-Swin, unless :nchw follows; 3x3 neighbours unless :k5; heads of 32 "
            "features unless :d16.",
            metavar="CxHxW",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Runtime and device, as doctor lists them; repeat for several. Default: the "
            "processor, on each runtime that is here.",
            metavar="RUNTIME:DEVICE",
            autocompletion=targets,
        ),
    ] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(
            help="Form that may win. Repeat for several. Default: all.",
            autocompletion=one_of(FORMS),
        ),
    ] = None,
    strips: Annotated[
        str, typer.Option(help="Numbers of strips that may win.", metavar="LIST")
    ] = "1,2,4,7",
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive", help="Try every form in every number of strips, not the best two only."
        ),
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds of measuring for each candidate of the long race."),
    ] = 1.0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of one call. Default: all cores.")
    ] = None,
    precision: Annotated[
        PrecisionOption, typer.Option(help="Of the files.", case_sensitive=False)
    ] = DEFAULT_PRECISION,
    out: Annotated[
        Path | None,
        typer.Option(help="Tuning table to add to. Default: your own, where export looks first."),
    ] = None,
    quiet: QuietOption = False,
    json_to: JsonOption = None,
) -> None:
    """Find the fastest form of each attention by racing them, and remember it for export.

    Every candidate is compared with the folded attention before it is timed. The present choice is
    replaced only if the whole 95 % interval of the ratio is below 1. Ctrl-C keeps finished results.
    """
    require_bench()
    require("torch", "all")
    from exporters.plain import to_json
    from slide_deploy.machine import usable_threads
    from slide_deploy.tasks.contests import (
        TuneOptions,
        find_attentions,
        parse_forms,
        parse_strips,
        parse_targets,
        run_contests,
        writable_table,
    )
    from slide_deploy.terminal.progress import Steps
    from slide_deploy.tuning.store import add_entry

    outputs = Outputs({"--json": json_to, "--out": out}, quiet, source.files)
    if source != Source() or not attention:
        source.require("a checkpoint, a size such as --attention 96x56x56")
    options = TuneOptions(
        parse_targets(target or (), precision.value),
        precision.value,
        threads or usable_threads(),
        parse_forms(form or ()),
        parse_strips(strips),
        seconds,
        exhaustive,
    )
    table = writable_table(out)
    with redirect_stdout(sys.stderr):  # the user's code may print
        trained = source.load(features=None) if source.files or source.model else None
        found = find_attentions(trained, attention or ())
    decided: list[Entry] = []
    failures: list[str] = []
    interrupted = False
    unwritten: InputError | None = None
    with Steps(outputs.quiet, len(found) * len(options.targets) * options.steps) as step:
        try:
            for outcome in run_contests(found, options, table, step):
                if isinstance(outcome, str):
                    failures.append(outcome)
                    continue
                decided.append(outcome)
                try:
                    add_entry(table, outcome)  # at once, so that later failures cannot lose it
                except InputError as error:
                    unwritten = error
                    break  # later entries could not be written either
        except KeyboardInterrupt:
            interrupted = True
    outputs.write("--json", lambda: to_json({"table": table.path, "entries": decided}))
    if decided and not outputs.quiet:
        _print(decided)
        if unwritten is None:
            echo(f"written: {table.path}")
    for failure in failures:
        echo(f"slide-deploy: {failure}", err=True)
    outputs.finish(interrupted)
    if unwritten is not None:
        raise unwritten
    if interrupted:
        echo("note: the finished results are kept.", err=True)
        raise KeyboardInterrupt
    raise typer.Exit(1 if failures else 0)


def _print(decided: "Sequence[Entry]") -> None:
    from rich.markup import escape

    from slide_deploy.terminal.console import figures, stdout, table, texts

    # The previous form counts as a figure, because a wrapped name would be misread.
    columns = figures("previous", "ms", "new", "ms", "ratio", "95 %")
    grid = table(
        "Fastest forms; ratios are relative to the previous choice",
        [*texts("attention", "target"), *columns],
    )
    for entry in decided:
        trials = {trial.lowering: trial for trial in entry.trials}
        before, winner = trials[entry.baseline], trials[entry.winner]
        same = before is winner
        grid.add_row(
            escape(str(entry.geometry)),
            escape(entry.target),
            entry.baseline,
            f"{before.milliseconds:.2f}",
            "the same" if same else entry.winner,
            "" if same else f"{winner.milliseconds:.2f}",
            "" if same else f"{winner.ratio:.3f}",
            "" if same else f"{winner.low:.3f}–{winner.high:.3f}",
        )
    stdout().print(grid)
    for entry in decided:
        for name, reason in entry.dropped.items():
            echo(f"note: {entry.geometry} on {entry.target}: {name} was dropped: {reason}")
