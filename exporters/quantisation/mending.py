"""A file of float16 that answers wrong: which operators to leave in float32, or who is to blame."""

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


def mend(
    exporter: Exporter,
    request: ExportRequest,
    path: Path,
    cases: Sequence[Case],
    precision: Precision,
) -> tuple[Path, tuple[str, ...]]:
    """Write a file again, with the operators in float32 whose numbers float16 may not hold.

    Args:
        exporter: of the format; it can keep operators.
        request: what to write.
        path: of the file, which is replaced where there are such operators.
        cases: on which numbers are looked at.
        precision: of the file.

    Returns:
        A file in float32, and the names of the operators that stay so in the one at ``path``.

    Raises:
        InputError: if the file in float32 cannot be written or run.
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
    """The first operator whose values are not those of a file in float32; empty if none is.

    Args:
        source: the file in float32.
        path: of another file of the same network, whose values have the same names.
        request: what was written.
        cases: on which the files were run.
        failed: names of those that the second one failed.
        least_db: least signal-to-noise ratio of values that count as alike.

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
