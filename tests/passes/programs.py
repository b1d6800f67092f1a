"""Compare the program of a network before and after a pass."""

import copy

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from slide_deploy.passes.report import PassReport
from slide_deploy.passes.running import run_passes

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution")


def program_of(model: nn.Module, *inputs: Tensor, **settings: object) -> ExportedProgram:
    return torch.export.export(model, inputs, **settings)  # type: ignore[arg-type]


def rewritten(program: ExportedProgram, name: str) -> tuple[ExportedProgram, PassReport]:
    """Run one pass; returns the new program and the report."""
    after, (report,) = run_passes(program, (name,))
    return after, report


def names(program: ExportedProgram) -> list[str]:
    """Operators that run, in order."""
    return [
        node.target._schema.name.partition("::")[2]
        for node in program.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    ]


def is_unchanged(before: ExportedProgram, after: ExportedProgram) -> bool:
    """Whether two programs are equal after dead code is removed."""
    cleaned, _ = run_passes(before, ())
    return (
        after.graph_module.code == cleaned.graph_module.code
        and list(after.state_dict) == list(cleaned.state_dict)
        and all(after.state_dict[name] is cleaned.state_dict[name] for name in after.state_dict)
    )


def convolutions(program: ExportedProgram) -> int:
    return sum(names(program).count(each) for each in CONVOLUTIONS)


def largest_difference(before: ExportedProgram, after: ExportedProgram, *inputs: Tensor) -> float:
    """Largest difference of all outputs, relative to the largest value where that exceeds 1."""
    with torch.no_grad():
        ours, theirs = (
            torch.utils._pytree.tree_leaves(program.module()(*map(copy.copy, inputs)))
            for program in (after, before)
        )
    worst = 0.0
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        scale = max(1.0, float(other.abs().max()))
        worst = max(worst, float((one - other).abs().max()) / scale)
    return worst


def maps(*sizes: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sizes, generator=generator, dtype=dtype)
