"""The commands that read a file without running it: check and inspect."""

from pathlib import Path
from typing import Annotated

import typer

from slide_deploy.cli.options import JsonOption, QuietOption, ShapeOption
from slide_deploy.errors import InputError
from slide_deploy.input_shapes import parse_shapes
from slide_deploy.writing import write_text


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help=".onnx, .xml or .mlpackage, one or more.", show_default=False),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy, laid over standard-ops.", metavar="TOML")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write SARIF 2.1.0 here.")] = None,
    show_policy: Annotated[
        bool, typer.Option("--show-policy", help="Print the built-in policy and do nothing else.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hold files against the rules of a policy, without the checkpoint and without a runtime."""
    from slide_deploy import graph_checks

    if show_policy:
        typer.echo(graph_checks.standard_ops_text(), nl=False)
        return
    if not files:
        raise InputError("No file to check: name an .onnx, .xml or .mlpackage.")
    rules = graph_checks.load_policy(policy) if policy else graph_checks.standard_ops()
    reports = graph_checks.check_files(files, rules)

    from slide_deploy.graph_checks import reports as forms

    if junit is not None:
        write_text(junit, forms.junit(reports))
    if sarif is not None:
        write_text(sarif, forms.sarif(reports))
    if as_json:
        typer.echo(forms.as_json(reports), nl=False)
    elif not quiet:
        from slide_deploy.console import stdout

        for report in reports:
            if report.violations:
                stdout().print(forms.report_table(report))
        stdout().print(forms.summary(reports))
    unusable = [report for report in reports if report.unusable]
    for report in unusable:
        typer.echo(f"slide-deploy: {report.unusable}", err=True)
    if not all(report.passed for report in reports):
        raise typer.Exit(2 if unusable else 1)


def inspect(
    file: Annotated[Path, typer.Argument(help=".onnx, .xml or .mlpackage.", show_default=False)],
    shape: ShapeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a file costs: operators, parameters, multiply-accumulates, memory, depth."""
    from slide_deploy import graph_checks

    shapes = parse_shapes(shape or ())
    inspection = graph_checks.inspect(graph_checks.read_sized(file, shapes))
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(inspection), indent=2))
        return
    from slide_deploy.console import stdout
    from slide_deploy.graph_checks.reports import inspection_tables

    for grid in inspection_tables(file, inspection, shapes):
        stdout().print(grid)
