"""The commands ``compare`` and ``report``, and printing of runs that ``bench`` shares."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.options import JsonOption, QuietOption
from slide_deploy.cli.outputs import Outputs
from slide_deploy.errors import InputError
from slide_deploy.parsing import parse_share
from slide_deploy.tasks.options import require_bench

if TYPE_CHECKING:
    from benchmarks.record import Run
    from benchmarks.statistics import Estimate

HtmlOption = Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")]
MarkdownOption = Annotated[Path | None, typer.Option(help="Write tables as Markdown to this file.")]
AccuracyOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Result of evaluate, for plots of accuracy; repeat for several.", metavar="RESULT"
    ),
]

# Limit if the noise of the machine was never measured.
DEFAULT_GATE = 0.05


def compare(
    old: Annotated[Path, typer.Argument(help="Result of an earlier run.", show_default=False)],
    new: Annotated[Path, typer.Argument(help="Result of a later run.", show_default=False)],
    fail_above: Annotated[
        str | None,
        typer.Option(
            help="By how much new may be slower. Default: the noise that --calibrate found, or 5%.",
            metavar="5%",
        ),
    ] = None,
    across_machines: Annotated[
        bool, typer.Option("--across-machines", help="Compare runs of different machines.")
    ] = False,
    quiet: QuietOption = False,
    json_to: JsonOption = None,
) -> None:
    """Compare two runs: is each candidate better, worse or undecided?

    Exit code 1 if a candidate became worse, or can no longer be measured.
    """
    require_bench()
    from rich.markup import escape

    from benchmarks.compare import compare as compare_runs
    from benchmarks.compare import failed, nothing_compared
    from benchmarks.result import read
    from exporters.plain import to_json
    from slide_deploy.terminal.console import figures, stdout, table, texts

    outputs = Outputs({"--json": json_to}, quiet, [old, new])
    given = None if fail_above is None else parse_share(fail_above, "--fail-above")
    before, after = read(old), read(new)
    noises = [run.noise for run in (before, after) if run.noise is not None]
    default = max(noises) - 1 if noises else DEFAULT_GATE
    limit = default if given is None else given
    found = compare_runs(before, after, limit, across_machines)
    outputs.write("--json", lambda: to_json(found))
    if not outputs.quiet:
        rows = (
            (escape(each.name), *ratio_cells(each.ratio), each.verdict.value, escape(each.remark))
            for each in found
        )
        columns = [*texts("candidate"), *figures("ratio", "95 %"), *texts("", "")]
        title = f"{new} against {old}; worse above {limit:.1%}"
        stdout().print(table(title, columns, rows))
    outputs.finish()
    if nothing_compared(found):
        raise InputError(
            f"{new} and {old} have no comparable candidates: none was measured for long enough in "
            f"both; measure them again."
        )
    raise typer.Exit(1 if failed(found) else 0)


def report(
    results: Annotated[list[Path], typer.Argument(help="Results of bench.", show_default=False)],
    accuracy: AccuracyOption = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = None,
) -> None:
    """Show results, of one device or of many, as tables or as one page with plots."""
    require_bench()
    from benchmarks.evaluated import read_accuracies, require_use, stated_run
    from benchmarks.result import read

    places = {"--html": html, "--markdown": markdown}
    outputs = Outputs(places, inputs=[*results, *(accuracy or [])])
    shares = read_accuracies(accuracy or ())
    measured = [read(path) for path in results]
    require_use(shares, (each.artifact for run in measured for each in run.measurements))
    runs = [stated_run(run, shares) for run in measured]
    write(runs, outputs)
    show(runs, outputs.quiet)
    outputs.finish()


def show(runs: "Sequence[Run]", quiet: bool) -> None:
    """Print the tables of runs."""
    if quiet:
        return
    from benchmarks.report.summary import summarise
    from benchmarks.report.terminal import render_terminal
    from slide_deploy.terminal.console import stdout

    for section in summarise(runs):
        if len(runs) > 1:
            stdout().print(section.title, markup=False)
        for view in section.views:
            for part in render_terminal(view):
                stdout().print(part)


def write(runs: "Sequence[Run]", outputs: Outputs) -> None:
    """Write runs as HTML and Markdown, if these options were given."""
    from benchmarks.report import render_html, render_markdown

    outputs.write("--html", lambda: render_html(runs))
    outputs.write("--markdown", lambda: render_markdown(runs))


def ratio_cells(ratio: "Estimate | None") -> tuple[str, str]:
    """Format a ratio and its interval as two cells."""
    if ratio is None:
        return "–", ""
    return f"{ratio.value:.3f}", f"{ratio.interval.low:.3f} to {ratio.interval.high:.3f}"
