"""Parallel branches of a module put together in memory, by the pass that exports use."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.passes.report import PassReport
from slide_deploy.passes.running import run_passes
from slide_deploy.program.tracing import without_changes_in_place
from slide_deploy.reparameterize import BRANCHES
from slide_deploy.torch_defaults import torch_defaults


@torch_defaults()
def merge_branches(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[nn.Module, tuple[PassReport, ...]]:
    """Trace a module and put its parallel branches together.

    Args:
        model: in evaluation mode; left as it is.
        args: positional arguments of its ``forward``, as an example.
        kwargs: keyword arguments, the same.

    Returns:
        A graph of operators that is called as the module is, with inputs of these sizes, and what
        was put together and what was not.

    Raises:
        InputError: if ``torch.export`` cannot trace the module; the text is a clause.
    """
    try:
        program = torch.export.export(model, tuple(args), dict(kwargs))
    except Exception as error:  # torch.export raises errors of many kinds
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        raise InputError(f"cannot be traced by torch.export ({reason})") from error
    merged, reports = run_passes(without_changes_in_place(program), (BRANCHES,))
    return merged.module(), reports
