"""The commands ``check`` and ``inspect``, which read files without running them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.options import JsonOption, PolicyOption, QuietOption, ShapeOption
from slide_deploy.cli.outputs import Outputs
from slide_deploy.errors import InputError
from slide_deploy.formats import suffixes
from slide_deploy.parsing import parse_shapes
from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from slide_deploy.terminal.progress import Steps

_KINDS = ", ".join(suffixes())
# Files with more bytes than this, in total, take more than two seconds.
_LARGE = 50 << 20


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help=f"{_KINDS}, one or more.", show_default=False),
    ] = None,
    policy: PolicyOption = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF 2.1.0 to this file.")] = None,
    show_policy: Annotated[
        bool,
        typer.Option(
            "--show-policy",
            help="Print a built-in policy and do nothing else: standard-ops, or the one that is "
            "named in place of a file.",
        ),
    ] = False,
    quiet: QuietOption = False,
    json_to: JsonOption = None,
) -> None:
    """Check files against the rules of a policy, without the checkpoint and without a runtime."""
    from slide_deploy import graph_checks

    if show_policy:
        name = str(files[0]) if files else policy or graph_checks.STANDARD_OPS
        if name not in graph_checks.BUILT_IN:
            known = " or ".join(graph_checks.BUILT_IN)
            raise InputError(f"{name} is not a built-in policy: give --show-policy {known}.")
        typer.echo(graph_checks.built_in_text(name), nl=False)
        return
    if not files:
        raise InputError(f"No file to check: give one that ends in {_KINDS}.")
    places = {"--json": json_to, "--junit": junit, "--sarif": sarif}
    own = [Path(policy)] if policy and policy not in graph_checks.BUILT_IN else []
    outputs = Outputs(places, quiet, [*files, *own])
    rules = graph_checks.named_policy(policy) if policy else None
    with _steps(files, outputs.quiet) as step:
        reports = graph_checks.check_files(files, rules, step)

    from slide_deploy.graph_checks import reports as forms

    outputs.write("--json", lambda: forms.as_json(reports))
    outputs.write("--junit", lambda: forms.junit(reports))
    outputs.write("--sarif", lambda: forms.sarif(reports))
    if not outputs.quiet:
        from slide_deploy.terminal.console import stdout

        for report in reports:
            if report.violations:
                stdout().print(forms.report_table(report))
        stdout().print(forms.summary(reports))
    unusable = [report for report in reports if report.unusable]
    for report in unusable:
        echo(f"slide-deploy: {report.unusable}", err=True)
    outputs.finish()
    if not all(report.passed for report in reports):
        raise typer.Exit(2 if unusable else 1)


def _steps(files: Sequence[Path], quiet: bool) -> "Steps":
    """Return progress over the files; it is shown only if they are large."""
    from slide_deploy.terminal.progress import Steps

    return Steps(quiet or sum(map(_size, files)) <= _LARGE, len(files))


def _size(file: Path) -> int:
    """Return the bytes of a model; 0 for an unusable file, which the check reports later."""
    from slide_deploy.files.companions import files_of

    try:
        return sum(each.stat().st_size for each in files_of(file).values())
    except (InputError, OSError):
        return 0


def inspect(
    file: Annotated[Path, typer.Argument(help=f"{_KINDS}.", show_default=False)],
    shape: ShapeOption = None,
    json_to: JsonOption = None,
) -> None:
    """Show what a file costs: operators, parameters, multiply-accumulates, memory, depth."""
    from exporters.plain import to_json
    from slide_deploy import graph_checks

    outputs = Outputs({"--json": json_to}, inputs=[file])
    shapes = parse_shapes(shape or ())
    inspection = graph_checks.inspect(graph_checks.read_sized(file, shapes))
    outputs.write("--json", lambda: to_json(inspection))
    if not outputs.quiet:
        from slide_deploy.graph_checks.reports import inspection_tables
        from slide_deploy.terminal.console import stdout

        for grid in inspection_tables(file, inspection, shapes):
            stdout().print(grid)
    outputs.finish()
