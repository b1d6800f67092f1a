"""Adapt a network to another image size: the defaults of ``Host``, and position tables.

A position table has one entry per cell of a grid. It is resized like an image, in float64, and
rounded once.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.errors import InputError


def any_size(path: Path, trained: Any, overrides: Overrides) -> Any:
    """Return the settings at another image size, for a network that takes images of any size.

    Raises:
        InputError: if the network does not take images of that size.
    """
    if overrides.image_size in (None, trained.image_size):
        return trained
    try:
        return replace(trained, image_size=overrides.image_size)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def same_tensors(
    tensors: Mapping[str, Tensor], trained: Any, target: Any
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors unchanged, and no names of resized ones."""
    return dict(tensors), ()


def resize_table(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], mode: str, prefix: int = 0
) -> Tensor:
    """Interpolate a position table, (1, prefix + h * w, C), to another grid.

    Args:
        table: the entries, row by row.
        old: height and width of its grid.
        new: height and width of the new grid.
        mode: "bilinear" or "bicubic", without aligned corners.
        prefix: number of leading entries without a position, such as a class token's. They are
            kept.
    """
    if old == new:
        return table
    grid = table[0, prefix:].double().T.reshape(1, -1, *old)
    resized = functional.interpolate(grid, size=new, mode=mode, align_corners=False)
    entries = resized.flatten(2)[0].T.to(table.dtype)
    return torch.cat((table[0, :prefix], entries))[None].contiguous()
