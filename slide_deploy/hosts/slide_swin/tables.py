"""Position tables at another size: arithmetic on tensors, in float64, rounded once.

A window of side w has a table of (2w - 1)^2 offsets for each head; an absolute embedding has one
entry for each patch. Both are pictures, and are interpolated as such: bicubic, as is customary
where a trained model is tuned at another size. The result is another function than the trained one.
"""

import math

from torch import Tensor

from slide_deploy.hosts.position_tables import resized_table


def resize_window_table(table: Tensor, window: int) -> Tensor:
    """Interpolate a table of offsets: ((2w - 1)^2, heads) to ((2 * window - 1)^2, heads)."""
    side, wanted = math.isqrt(table.shape[0]), 2 * window - 1
    return resized_table(table[None], (side, side), (wanted, wanted), "bicubic")[0]


def resize_embedding(embedding: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Interpolate an absolute embedding: (1, h * w, C) to that of another map, row by row."""
    return resized_table(embedding, old, new, "bicubic")
