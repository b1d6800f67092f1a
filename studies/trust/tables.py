"""Tables of the findings, for the terminal and the page."""

from statistics import median

from benchmarks.compare import Verdict
from benchmarks.generated_page import Grid, ratio_cells
from slide_deploy.terminal.console import figures, texts
from studies.trust.outcomes import (
    EXTRA_WORK,
    FAIL_ABOVE,
    ONE_WRONG_IN,
    VENDOR_LIMIT,
    Findings,
    LoopAgreement,
    Series,
)

COMMAND = "make bench-trust"


def grids(findings: Findings) -> tuple[Grid, Grid]:
    """Return tables of the gate's verdicts and of the comparison with vendors' tools."""
    return _gate(findings), _vendors(findings)


def passed(accepted: bool) -> str:
    """Return the word for an outcome."""
    return "pass" if accepted else "FAIL"


def _gate(findings: Findings) -> Grid:
    verdicts = figures("extra work", "races", "worse", "cannot tell", "better")
    headers = (*texts("target"), *verdicts, *figures("ratio", "least", "most"), *texts(""))
    return Grid(
        f"A file against itself, gate at {FAIL_ABOVE:.0%}",
        headers,
        tuple(_series(each, findings) for each in findings.series),
        f"The ratio is second / first in the median race. Accepted: at most 1 wrong verdict in "
        f"{ONE_WRONG_IN}. Without extra work, *worse* is wrong. With {EXTRA_WORK:.0%} extra work, "
        f"every other verdict is wrong.",
    )


def _series(series: Series, findings: Findings) -> tuple[str, ...]:
    ratios = series.ratios
    return (
        findings.runtimes.get(series.target, series.target),
        f"{series.extra_work:.0%}" if series.extra_work else "none",
        str(len(series.gated)),
        str(series.count(Verdict.worse)),
        str(series.count(Verdict.unclear)),
        str(series.count(Verdict.better)),
        *((f"{each:.3f}" for each in (median(ratios), ratios[0], ratios[-1])) if ratios else "–––"),
        passed(series.accepted),
    )


def _vendors(findings: Findings) -> Grid:
    columns = figures("pairs", "ours, ms", "theirs, ms", "ratio", "from", "to")
    headers = (*texts("target", "against"), *columns, *texts(""))
    return Grid(
        "Our median compared with that of another tool",
        headers,
        tuple(_agreement(each, findings) for each in findings.agreements),
        f"The ratio is ours / theirs, the median of all pairs, with its 95 % interval. Accepted: "
        f"within {VENDOR_LIMIT:.0%} of 1.",
    )


def _agreement(agreement: LoopAgreement, findings: Findings) -> tuple[str, ...]:
    return (
        findings.runtimes.get(agreement.target, agreement.target),
        agreement.vendor,
        str(len(agreement.ours)),
        *(f"{each / 1e6:.3f}" for each in agreement.typical),
        *ratio_cells(agreement.ratio, 3, missing="–"),
        passed(agreement.accepted),
    )
