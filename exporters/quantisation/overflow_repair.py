"""Repairs a float16 file that fails: keeps overflowing operators in float32."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from exporters.base import Exporter, ExportRequest
from exporters.quantisation.making import inputs_of, write_source
from exporters.quantisation.overflow import overflowing
from slide_deploy.backends import values_of
from slide_deploy.graph_checks import read_graph
from slide_deploy.precisions import Precision
from slide_deploy.verification.cases import Case


def repair_overflow(
    exporter: Exporter,
    request: ExportRequest,
    path: Path,
    cases: Sequence[Case],
    precision: Precision,
) -> tuple[Path, tuple[str, ...]]:
    """Write a file again, with operators whose values may overflow float16 in float32.

    Args:
        exporter: exporter of the format; its ``can_keep`` is true.
        request: what to write.
        path: path of the file, which is replaced if there are such operators.
        cases: inputs for the overflow search.
        precision: precision of the file.

    Returns:
        The path of a float32 file, and the names of the operators that stay in float32.

    Raises:
        InputError: if the float32 file cannot be written or run.
    """
    source = write_source(exporter, request, path, precision)
    kept = overflowing(source, inputs_of(source, request, cases))
    if kept:
        given = {
            name for node in read_graph(source).nodes if node.name in kept for name in node.outputs
        }
        exporter.write(request, path, given)
    return source, kept


def first_wrong(
    source: Path,
    path: Path,
    request: ExportRequest,
    cases: Sequence[Case],
    failed: Collection[str],
    least_db: float,
) -> str:
    """Return the first operator whose values differ from a float32 file; empty if none does.

    Args:
        source: path of the float32 file.
        path: path of another file of the same network, whose values have the same names.
        request: what was written.
        cases: inputs that the files were verified on.
        failed: names of the cases that the second file failed.
        least_db: smallest signal-to-noise ratio, in dB, of values that count as equal.

    Raises:
        InputError: if a file cannot be run.
    """
    wanted = [case for case in cases if case.name in failed]
    graph = read_graph(source)
    for feeds in inputs_of(source, request, wanted[:1]):
        exact, values = values_of(source, feeds), values_of(path, feeds)
        for node in graph.nodes:
            for name in node.outputs:
                if name in exact and name in values and exact[name].shape == values[name].shape:
                    signal = exact[name].astype(np.float64)
                    with np.errstate(all="ignore"):
                        noise = ((values[name] - signal) ** 2).sum()
                        is_alike = noise * 10 ** (least_db / 10) <= (signal**2).sum()
                    if not is_alike:
                        return node.name
        break
    return ""
