"""Reports as tables for the terminal."""

from collections.abc import Iterable

from rich.markup import escape
from rich.table import Table

from slide_deploy.graph_checks.check import Report
from slide_deploy.graph_checks.readers.limits import short
from slide_deploy.terminal.console import table

_COLOURS = {"error": "bold red", "warning": "yellow"}


def report_table(report: Report) -> Table:
    """One row for each violation, with the remedy below the message."""
    grid = table(
        escape(short(f"{report.path} against {report.policy}", 200)),
        [("rule", False), ("where", False), ("what is wrong, and what to do", False)],
    )
    for violation in report.violations:
        colour = _COLOURS[violation.severity]
        grid.add_row(
            f"{violation.rule}\n[{colour}]{violation.severity}[/]",
            escape(violation.node or "the file"),
            f"{escape(violation.message)}\n[dim]{escape(violation.remedy)}[/]",
        )
    return grid


def summary(reports: Iterable[Report]) -> str:
    """One line for each file: whether it passed, and how many violations it has."""
    return "\n".join(map(_line, reports))


def _line(report: Report) -> str:
    if report.unusable:
        return f"[bold red]unusable[/] {escape(short(str(report.path), 200))}"
    errors = len(report.errors)
    warnings = len(report.violations) - errors
    verdict = "[green]pass[/]" if report.passed else "[bold red]FAIL[/]"
    counts = f"{errors} errors, {warnings} warnings" if report.violations else "no violations"
    policy = escape(short(report.policy, 80))
    return f"{verdict} {escape(short(str(report.path), 200))}: {counts} of {policy}"
