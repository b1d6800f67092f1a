"""Networks as programs in float64, and what passes make of them."""

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
        module: its weights are drawn anew.
        shapes: of its inputs, with the batch.
        open_batch: whether the first size of every input is open.
        seed: of the weights.
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
    """What passes made of a program.

    Attributes:
        program: behind the passes.
        report: of the last pass.
        before: how many of each operator there were.
        after: how many there are.
        error: largest difference of an answer, over its largest value.
    """

    program: ExportedProgram
    report: PassReport
    before: Counter[str]
    after: Counter[str]
    error: float


def rewritten(
    given: ExportedProgram, *names: str, shapes: Sequence[tuple[int, ...]] = ()
) -> Rewritten:
    """Run passes over a program and compare what it answers.

    Args:
        given: the program.
        names: of the passes.
        shapes: of the inputs to compare with; those that were traced if there are none.
    """
    assert given.example_inputs is not None
    sizes = tuple(shapes) or tuple(tuple(each.shape) for each in given.example_inputs[0])
    new, reports = run_passes(given, names)
    pairs = zip(_answers_before(given, sizes), _answers(new, inputs(sizes)), strict=True)
    error = 0.0
    for old, now in pairs:
        assert old.shape == now.shape and old.dtype == now.dtype
        error = max(error, float((old - now).abs().max() / old.abs().max()))
    return Rewritten(new, reports[-1], operators(given), operators(new), error)


@cache
def _answers_before(given: ExportedProgram, shapes: tuple[tuple[int, ...], ...]) -> list[Tensor]:
    return _answers(given, inputs(shapes))


def _answers(given: ExportedProgram, values: tuple[Tensor, ...]) -> list[Tensor]:
    answer: Any = given.module()(*values)
    return [answer] if isinstance(answer, Tensor) else list(answer)


def operators(given: ExportedProgram) -> Counter[str]:
    """How many of each operator of ATen a program has, without overloads."""
    return Counter(
        node.target._schema.name.partition("::")[2]
        for node in given.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    )


def ranks(given: ExportedProgram) -> int:
    """The most axes of a value that is computed."""
    return max(
        value.ndim
        for node in given.graph.nodes
        if node.op == "call_function" and isinstance(value := node.meta.get("val"), Tensor)
    )
