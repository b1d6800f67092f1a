"""Writes ExecuTorch files, partitioned between a delegate and ExecuTorch's own kernels.

The format cannot store names and metadata, so a method of the file returns them (see
``slide_deploy.saved.pte.companion``). ExecuTorch plans memory ahead of time, so an open batch needs
an upper bound, and no other size can be open.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from exporters.base import ExportRequest
from exporters.executorch_delegates import BOUNDED, DELEGATES
from slide_deploy.deployable.inputs import BATCH_NAME
from slide_deploy.errors import InputError
from slide_deploy.saved.pte.companion import METHOD, companion_text

# Largest open batch. The runtime allocates memory for all of it when it loads a file. During
# conversion torch excludes the largest one or two sizes, so 18 leaves 16 that work.
MAX_BATCH = 18


def refuse(request: ExportRequest, delegate: str) -> None:
    """Check, before anything is written, that ExecuTorch supports the open sizes.

    Raises:
        InputError: if a size other than the batch is open, or the delegate needs a fixed batch.
    """
    open_names = set(request.deployable.open_names)
    others = sorted(open_names - {BATCH_NAME})
    if others:
        raise InputError(
            f"executorch plans memory ahead and needs a fixed {' and '.join(others)}: leave "
            f"{'them' if len(others) > 1 else 'it'} closed, or leave executorch out."
        )
    if open_names and delegate not in BOUNDED:
        raise InputError(
            f"executorch needs a fixed batch for {delegate}: leave out --dynamic-batch, or "
            f"choose --delegate {BOUNDED[0]}."
        )


def write(request: ExportRequest, path: Path, delegate: str) -> None:
    """Write ``path`` for a delegate; see ``Exporter.write``."""
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    passes, partitioner = DELEGATES[delegate](request.precision)
    names = [each.name for each in request.inputs]
    text = companion_text(names, request.outputs, request.metadata)
    with _bounded(request.program):
        edge = to_edge_transform_and_lower(
            request.program,
            transform_passes=passes,
            partitioner=[partitioner],
            constant_methods={METHOD: text},
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
        with path.open("wb") as file:
            edge.to_executorch().write_to_file(file)


@contextmanager
def _bounded(program: ExportedProgram) -> Iterator[None]:
    """Limit the open batch of a program to ``MAX_BATCH`` while it is converted."""
    from torch.utils._sympy.value_ranges import ValueRanges

    held = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"]
    sizes = [size for value in held if isinstance(value, torch.Tensor) for size in value.shape]
    symbols: list[Any] = [size for size in sizes if isinstance(size, torch.SymInt)]
    ranges = symbols[0].node.shape_env.var_to_range if symbols else {}
    before = dict(ranges)
    for symbol in program.range_constraints:
        ranges[symbol] = ValueRanges(before[symbol].lower, MAX_BATCH)
    try:
        yield
    finally:
        ranges.update(before)
