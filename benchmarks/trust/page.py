"""The page that keeps the findings."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.generated_page import GeneratedPage
from benchmarks.trust.outcomes import Findings
from benchmarks.trust.tables import grids

COMMAND = "make bench-trust"


def page(path: Path) -> GeneratedPage:
    """The page at a path."""
    return GeneratedPage(path, COMMAND)


def update(path: Path, findings: Findings, conditions: Mapping[str, str]) -> None:
    """Put the findings on a page.

    Raises:
        InputError: as ``GeneratedPage.update``.
    """
    page(path).update(grids(findings), conditions)
