"""Position tables at another size: arithmetic on tensors, in float64, rounded once.

A window of side w has a table of (2w - 1)^2 offsets for each head; an absolute embedding has one
entry for each patch. Both are pictures, and are interpolated as such: bicubic, as is customary
where a trained model is tuned at another size. The result is another function than the trained one.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def resize_window_table(table: Tensor, window: int) -> Tensor:
    """Interpolate a table of offsets: ((2w - 1)^2, heads) to ((2 * window - 1)^2, heads)."""
    side = math.isqrt(table.shape[0])
    return _resize(table, (side, side), (2 * window - 1, 2 * window - 1))


def resize_embedding(embedding: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Interpolate an absolute embedding: (1, h * w, C) to that of another map, row by row."""
    return _resize(embedding[0], old, new)[None]


def _resize(entries: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Entries of a grid, (rows * columns, channels), to those of another."""
    if old == new:
        return entries
    picture = entries.double().T.reshape(1, -1, *old)
    resized = functional.interpolate(picture, size=new, mode="bicubic", align_corners=False)
    return resized.flatten(2)[0].T.to(entries.dtype, memory_format=torch.contiguous_format)
