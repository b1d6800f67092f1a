"""Trace networks in float64 and compare them before and after passes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from slide_deploy.passes.report import PassReport
from slide_deploy.passes.running import run_passes
from slide_deploy.program.tracing import MAX_BATCH
from tests.support import randomise

LIMIT = 1e-12


def program(
    module: nn.Module, *shapes: tuple[int, ...], open_batch: bool = False, seed: int = 0
) -> ExportedProgram:
    """A module with random weights, traced in float64.

    Args:
        module: the network; its weights are replaced by random ones.
        shapes: shapes of its inputs, including the batch.
        open_batch: whether the first size of every input is open.
        seed: seed of the weights.
    """
    module = randomise(module, seed).double()
    batch = Dim("batch", min=1, max=MAX_BATCH)
    sizes = {0: batch} if open_batch else None
    return torch.export.export(
        module,
        inputs(shapes),
        dynamic_shapes=tuple(sizes for _ in shapes) if open_batch else None,
    )


def inputs(shapes: Sequence[tuple[int, ...]], seed: int = 1) -> tuple[Tensor, ...]:
    """Random inputs of these shapes."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


@dataclass(frozen=True)
class Rewritten:
    """The result of passes over a program.

    Attributes:
        program: the rewritten program.
        report: report of the last pass.
        before: number of each operator before the passes.
        after: number of each operator afterwards.
        error: largest difference of an output, relative to its largest value.
    """

    program: ExportedProgram
    report: PassReport
    before: Counter[str]
    after: Counter[str]
    error: float


def rewritten(
    given: ExportedProgram, *names: str, shapes: Sequence[tuple[int, ...]] = ()
) -> Rewritten:
    """Run passes over a program and compare its outputs.

    Args:
        given: the program.
        names: names of the passes.
        shapes: shapes of the inputs to compare with; those of the trace if empty.
    """
    assert given.example_inputs is not None
    sizes = tuple(shapes) or tuple(tuple(each.shape) for each in given.example_inputs[0])
    new, reports = run_passes(given, names)
    pairs = zip(_outputs_before(given, sizes), _outputs(new, inputs(sizes)), strict=True)
    error = 0.0
    for old, now in pairs:
        assert old.shape == now.shape and old.dtype == now.dtype
        error = max(error, float((old - now).abs().max() / old.abs().max()))
    return Rewritten(new, reports[-1], operators(given), operators(new), error)


@cache
def _outputs_before(given: ExportedProgram, shapes: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    return _outputs(given, inputs(shapes))


def _outputs(given: ExportedProgram, values: tuple[Tensor, ...]) -> list[Tensor]:
    output: Any = given.module()(*values)
    return [output] if isinstance(output, Tensor) else list(output)


def operators(given: ExportedProgram) -> Counter[str]:
    """Count each ATen operator of a program, without overloads."""
    return Counter(
        node.target._schema.name.partition("::")[2]
        for node in given.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    )


def ranks(given: ExportedProgram) -> int:
    """The largest rank of a computed value."""
    return max(
        value.ndim
        for node in given.graph.nodes
        if node.op == "call_function" and isinstance(value := node.meta.get("val"), Tensor)
    )
