"""Trace a network to a ``torch.export`` program, with or without open sizes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram

from slide_deploy.deployable.inputs import BATCH_NAME
from slide_deploy.deployable.record import Deployable, resized
from slide_deploy.errors import InputError

# Upper bound of an open batch, for runtimes that plan memory in advance.
MAX_BATCH = 1024


def open_dimensions(deployable: Deployable) -> dict[str, Any]:
    """The symbolic dimension of each open size, by name.

    The batch may be 1 to ``MAX_BATCH``. The network itself determines the range of other sizes.
    """
    batch = torch.export.Dim(BATCH_NAME, min=1, max=MAX_BATCH)
    return {
        name: batch if name == BATCH_NAME else torch.export.Dim.DYNAMIC
        for name in deployable.open_names
    }


def traced(deployable: Deployable, dimensions: Mapping[str, Any]) -> ExportedProgram:
    """Trace a network.

    Args:
        deployable: the network; it is not changed.
        dimensions: symbolic dimensions by the names of open sizes; other sizes are constants.

    Returns:
        A program without in-place operators.

    Raises:
        InputError: if the network branches on computed numbers, or fixes an open size.
    """
    # Torch treats sizes of 0 and 1 as constants.
    ones = {
        name: 2
        for name in dimensions
        if any(
            each.example.shape[axis] < 2
            for each in deployable.inputs
            for axis, other in each.open.items()
            if other == name
        )
    }
    sized = resized(deployable, ones)
    shapes = tuple(
        {axis: dimensions[name] for axis, name in each.open.items() if name in dimensions}
        for each in sized.inputs
    )
    try:
        program = torch.export.export(
            sized.network(),
            sized.examples,
            dynamic_shapes={"tensors": shapes} if dimensions else None,
        )
    except Exception as error:  # torch.export raises errors of many kinds
        raise InputError(_refusal(deployable, dimensions, error)) from error
    return without_changes_in_place(program)


def without_changes_in_place(program: ExportedProgram) -> ExportedProgram:
    """Replace in-place operators, because passes assume that every operator makes a new value."""
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            return program.run_decompositions({})
    return program


def _refusal(deployable: Deployable, dimensions: Mapping[str, Any], error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0][:300] if lines else type(error).__name__
    name = deployable.origin.name
    if dimensions and type(error).__name__ in ("UserError", "ConstraintViolationError"):
        return (
            f"{name} cannot be traced with {', '.join(dimensions)} open ({reason}): fix the sizes "
            f"that its forward computes with."
        )
    return (
        f"{name} cannot be traced by torch.export ({reason}): its forward must not branch on "
        f"numbers that it computes."
    )
