"""What became of parallel branches, as the commands print it."""

from typing import TYPE_CHECKING

from slide_deploy.terminal.printable import say

if TYPE_CHECKING:
    from slide_deploy.folding.model import Certificate


def print_branches(certificate: "Certificate", title: str) -> None:
    """A table of what was put together, and a line for each place that stays as it is.

    Args:
        certificate: of the fold.
        title: of the table.
    """
    from slide_deploy.terminal.console import stdout, table

    for refusal in certificate.not_merged:
        say(f"note: {refusal.layer} keeps its branches: {refusal.why}")
    if not certificate.merged:
        return
    grid = table(
        title,
        [
            ("layer", False),
            ("what became one convolution", False),
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
