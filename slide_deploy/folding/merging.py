"""Merge the parallel branches of a module in memory, with the pass that exports use."""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from slide_deploy.errors import InputError
from slide_deploy.folding.model import BRANCHES
from slide_deploy.passes.report import PassReport
from slide_deploy.passes.running import run_passes
from slide_deploy.process.torch_defaults import torch_defaults
from slide_deploy.program.tracing import without_changes_in_place


@torch_defaults()
def merge_branches(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, any_size: bool = True
) -> tuple[nn.Module, tuple[PassReport, ...]]:
    """Trace a module and merge its parallel branches.

    Args:
        model: module in evaluation mode. It is not changed.
        args: example positional arguments of its ``forward``.
        kwargs: example keyword arguments.
        any_size: whether the graph takes other sizes than the example, as far as the network does.
            Tracing takes several times as long then.

    Returns:
        A graph module that is called as in the example, and reports of what was merged and what was
        not. Sizes that are 0 or 1 in the example are fixed. Other sizes are open with ``any_size``.

    Raises:
        InputError: if ``torch.export`` cannot trace the module. The message is a clause.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own internals
        program = without_changes_in_place(_traced(model, tuple(args), dict(kwargs), any_size))
        merged, reports = run_passes(program, (BRANCHES,))
        return merged.module(), reports


def _traced(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], any_size: bool
) -> ExportedProgram:
    if any_size:
        given = inspect.signature(model.forward).bind(*args, **kwargs).arguments
        try:
            sizes = pytree.tree_map(_open_sizes, dict(given))
            return torch.export.export(model, args, kwargs, dynamic_shapes=sizes)
        except Exception:  # any kind, if a network works for the sizes of the example only
            pass
    try:
        return torch.export.export(model, args, kwargs)
    except Exception as error:  # torch.export raises errors of many kinds
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(error).__name__
        raise InputError(f"cannot be traced by torch.export ({reason})") from error


def _open_sizes(leaf: object) -> dict[int, Any] | None:
    """Return the open dimensions of a tensor. Sizes 0 and 1 are constants for torch."""
    if not isinstance(leaf, Tensor):
        return None
    return {axis: Dim.AUTO for axis, size in enumerate(leaf.shape) if size > 1}
