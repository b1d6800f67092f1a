"""Adaptive average pooling of a feature map to a fixed grid, in standard operators."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.models.parts import as_nchw


class GridPool(nn.Module):
    """Average pooling of tokens to a fixed grid, equal to ``nn.AdaptiveAvgPool2d``.

    Along an axis of n positions, cell i averages [floor(i n / side), ceil((i + 1) n / side)). Cells
    overlap if ``side`` does not divide n, and repeat positions if n is smaller. If ``side`` divides
    both axes, tokens are averaged without a transpose. Otherwise each axis is multiplied by a
    constant matrix.

    Args:
        resolution: height and width of the feature map.
        side: number of cells along each axis.
    """

    def __init__(self, resolution: tuple[int, int], side: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.side = side
        self.rows: Tensor | None
        self.columns: Tensor | None
        regular = all(length % side == 0 for length in resolution)
        # Zeros and ones, which are exact in every type. ``_averages`` divides them.
        rows, columns = (
            None if regular else torch.from_numpy(_members(length, side)) for length in resolution
        )
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool: (batch, h * w, C) to (batch, side * side, C)."""
        if self.rows is None or self.columns is None:
            return self._of_equal_cells(tokens)
        nchw = as_nchw(tokens, self.resolution)
        # The axes are projected one after the other. A matmul with the constant on the left would
        # be repeated for every image, which OpenVINO computes wrongly for an open batch.
        narrow = functional.linear(nchw, _averages(self.columns)).transpose(2, 3)
        cells = functional.linear(narrow, _averages(self.rows))  # (batch, C, column, row)
        return cells.permute(0, 3, 2, 1).flatten(1, 2)

    def _of_equal_cells(self, tokens: Tensor) -> Tensor:
        (height, width), channels = self.resolution, tokens.shape[-1]
        if height > self.side:  # (batch * row of cells, row in it, w * C)
            tokens = tokens.reshape(-1, height // self.side, width * channels).mean(dim=1)
        if width > self.side:  # (batch * cells, column in it, C)
            tokens = tokens.reshape(-1, width // self.side, channels).mean(dim=1)
        return tokens.reshape(-1, self.side**2, channels)


def _members(length: int, side: int) -> np.ndarray:
    """Return ones for the positions of an axis that each cell averages, (side, length)."""
    places, cells = np.arange(length), np.arange(side)[:, None]
    first, end = cells * length // side, -(-(cells + 1) * length // side)
    return ((first <= places) & (places < end)).astype(np.float32)


def _averages(members: Tensor) -> Tensor:
    return members / members.sum(dim=1, keepdim=True)
