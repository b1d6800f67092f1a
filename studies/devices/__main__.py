"""``python -m studies.devices docs/devices --out docs/devices.md``: page of device results."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.generated_page import Grid, page_command, page_of, publish
from benchmarks.record import Run
from benchmarks.report.summary import machine_title
from benchmarks.report.table import without_noise
from slide_deploy.terminal.console import figures, texts
from studies.devices.results import read_all

COMMAND = "make device-results"
_HEADERS = (
    *texts("device", "file", "target"),
    *figures("threads", "median ms", "error", "SNR dB"),
    *texts("measured"),
)


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Check the results and write the page. Return 2 on a rejected result or unwritable page."""
    parser = argparse.ArgumentParser(prog="python -m studies.devices")
    parser.add_argument("folder", type=Path, help="folder of results from bench --json")
    parser.add_argument("--out", type=Path, help="page to write; default: only check the results")
    chosen = parser.parse_args(arguments)
    publish(page_of(chosen.out, COMMAND), [table(read_all(chosen.folder).values())])
    return 0


def table(results: Iterable[Run]) -> Grid:
    """Return a table with a row per candidate, ordered by the start of the run."""
    rows = []
    for run in sorted(results, key=lambda each: each.started):
        for each in run.measurements:
            proof, artifact = each.proof, each.artifact
            assert proof is not None
            assert artifact is not None
            rows.append(
                (
                    machine_title(run.machine),
                    f"{artifact.name} ({artifact.sha256[:8]})",
                    each.candidate.target,
                    str(each.candidate.configuration.threads),
                    f"{median(each.pooled_samples) / 1e6:.3g}",
                    f"{proof.relative:.0e}",
                    without_noise(proof) if proof.snr_db is None else f"{proof.snr_db:.0f}",
                    run.started[:10],
                )
            )
    return Grid("", _HEADERS, tuple(rows))


if __name__ == "__main__":
    sys.exit(main())
