"""Printing for ``fold`` and ``export``: the network, the fold certificate and merged branches."""

from pathlib import Path
from typing import TYPE_CHECKING

from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from slide_deploy.deployable.record import Deployable
    from slide_deploy.folding.model import Certificate


def print_branches(certificate: "Certificate", title: str) -> None:
    """Print a table of the merged branches, and lines about the layers that keep their branches."""
    from exporters.shown import grouped
    from slide_deploy.terminal.console import figures, stdout, table, texts

    refused = [(refusal.layer, refusal.why) for refusal in certificate.not_merged]
    for line in grouped(refused, "keeps its branches", "keep their branches"):
        echo(f"note: {line}")
    if not certificate.merged:
        return
    columns = texts("layer", "merged into one convolution")
    columns += figures("error, float64", "after rounding")
    rows = (
        (
            change.layer,
            change.what.removesuffix(" became one convolution"),
            _figure(change.error),
            _figure(change.rounding),
        )
        for change in certificate.merged
    )
    stdout().print(table(title, columns, rows))


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
    from slide_deploy.terminal.console import figures, stdout, table, texts

    if not certificate.folded:
        echo(f"fold: {certificate.status}")
    for line in left_lines(certificate):
        echo(f"note: {line}")
    if not certificate.folded:
        return
    columns = figures("k", "heads", "branches", "error, float64", "after rounding", "off a shift")
    rows = (
        (
            layer.name,
            str(layer.kernel_size),
            str(layer.num_heads),
            str(len(layer.branches)),
            _figure(layer.error),
            _figure(layer.rounding),
            "0" if layer.shift_distance == 0 else _figure(layer.shift_distance),
        )
        for layer in certificate.folded
    )
    stdout().print(table("Fold certificate", [*texts("layer"), *columns], rows))
