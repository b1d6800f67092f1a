"""Position tables at another size: arithmetic on tensors, in float64, rounded once.

A table has one entry for each place of a grid. It is a picture, and is interpolated as such.
"""

import torch
from torch import Tensor
from torch.nn import functional


def resized_table(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], mode: str, apart: int = 0
) -> Tensor:
    """Interpolate a table of (1, apart + h * w, C), row by row, to that of another grid.

    Args:
        table: the entries.
        old: height and width of its grid.
        new: height and width of the wanted one.
        mode: "bilinear" or "bicubic"; corners are not aligned.
        apart: so many entries in front belong to no place and stay as they are.
    """
    if old == new:
        return table
    picture = table[0, apart:].double().T.reshape(1, -1, *old)
    resized = functional.interpolate(picture, size=new, mode=mode, align_corners=False)
    places = resized.flatten(2)[0].T.to(table.dtype)
    return torch.cat((table[0, :apart], places))[None].contiguous()
