"""Averages of a map over a fixed grid of cells, whatever the map's size, in standard operators."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class GridPool(nn.Module):
    """Average pooling to a fixed grid, as ``nn.AdaptiveAvgPool2d`` computes it.

    Cell i of an axis of n positions is made of those from floor(i n / side) on, up to and without
    ceil((i + 1) n / side): cells overlap where the side does not divide n, and repeat where n is
    smaller. Where it divides both axes this is an ordinary average pooling. Elsewhere each axis is
    a product with a constant matrix.

    Args:
        resolution: height and width of the map.
        side: cells along each axis.
    """

    def __init__(self, resolution: tuple[int, int], side: int) -> None:
        super().__init__()
        height, width = resolution
        self.window = (height // side, width // side)
        self.rows: Tensor | None
        self.columns: Tensor | None
        regular = height % side == 0 and width % side == 0
        # Zeros and ones, which every type holds exactly; they are averages in ``_averages``.
        rows = None if regular else torch.from_numpy(cells(height, side))
        columns = None if regular else torch.from_numpy(cells(width, side))
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool: (batch, C, h, w) to (batch, C, side, side)."""
        if self.rows is not None and self.columns is not None:
            # Projections of one axis after the other: products of maps with one matrix for all
            # channels are broadcast first, which OpenVINO gets wrong where the batch is open.
            narrow = functional.linear(maps, _averages(self.columns)).transpose(2, 3)
            return functional.linear(narrow, _averages(self.rows)).transpose(2, 3)
        return maps if self.window == (1, 1) else functional.avg_pool2d(maps, self.window)


def cells(length: int, side: int) -> np.ndarray:
    """Which positions of an axis each cell averages, as ones: (side, length)."""
    return np.array(
        [
            [
                cell * length // side <= place < -(-(cell + 1) * length // side)
                for place in range(length)
            ]
            for cell in range(side)
        ],
        np.float32,
    )


def _averages(members: Tensor) -> Tensor:
    return members / members.sum(dim=1, keepdim=True)
