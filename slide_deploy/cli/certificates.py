"""Printing for ``fold`` and ``export``: the network, the fold certificate and merged branches."""

from pathlib import Path
from typing import TYPE_CHECKING

from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from slide_deploy.deployable.record import Deployable
    from slide_deploy.folding.model import Certificate


def print_branches(certificate: "Certificate", title: str) -> None:
    """Print a table of the merged branches, and lines about the layers that keep their branches.

    Args:
        certificate: certificate of the fold.
        title: title of the table.
    """
    from exporters.shown import grouped
    from slide_deploy.terminal.console import stdout, table

    refused = [(refusal.layer, refusal.why) for refusal in certificate.not_merged]
    for line in grouped(refused, "keeps its branches", "keep their branches"):
        echo(f"note: {line}")
    if not certificate.merged:
        return
    grid = table(
        title,
        [
            ("layer", False),
            ("merged into one convolution", False),
            ("error, float64", True),
            ("after rounding", True),
        ],
    )
    for change in certificate.merged:
        what = change.what.removesuffix(" became one convolution")
        grid.add_row(change.layer, what, _figure(change.error), _figure(change.rounding))
    stdout().print(grid)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def print_origin(trained: "Deployable") -> None:
    """Print the file of a network, its hash, a summary and remarks."""
    origin = trained.origin
    entry = f"entry {origin.facts['entry']}, " if origin.facts.get("entry") else ""
    echo(f"{Path(origin.name).name}: {entry}sha256 {origin.sha256[:16]}")
    echo(origin.summary)
    for remark in origin.remarks:
        echo(f"note: {remark}")


def print_certificate(certificate: "Certificate") -> None:
    """Print the status of a fold and a table of the folded layers."""
    from exporters.shown import left_lines
    from slide_deploy.terminal.console import stdout, table

    if not certificate.folded:
        echo(f"fold: {certificate.status}")
    for line in left_lines(certificate):
        echo(f"note: {line}")
    if not certificate.folded:
        return
    grid = table(
        "Fold certificate",
        [
            ("layer", False),
            ("k", True),
            ("heads", True),
            ("branches", True),
            ("error, float64", True),
            ("after rounding", True),
            ("off a shift", True),
        ],
    )
    for layer in certificate.folded:
        grid.add_row(
            layer.name,
            str(layer.kernel_size),
            str(layer.num_heads),
            str(len(layer.branches)),
            f"{layer.error:.1e}",
            f"{layer.rounding:.1e}",
            _distance(layer.shift_distance),
        )
    stdout().print(grid)


def _distance(value: float | None) -> str:
    """Format the distance of a branch from a shift; a dash if no branch is one."""
    return "–" if value is None else f"{value:.1e}" if value else "0"
