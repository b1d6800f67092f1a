"""Averages of a map over a fixed grid of cells, whatever the map's size, in standard operators."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.models.parts import as_map


class GridPool(nn.Module):
    """Average pooling of tokens to a fixed grid, as ``nn.AdaptiveAvgPool2d`` computes it of a map.

    Cell i of an axis of n positions is made of those from floor(i n / side) on, up to and without
    ceil((i + 1) n / side): cells overlap where the side does not divide n, and repeat where n is
    smaller. Where it divides both axes the tokens of a cell are averaged where they stand, which
    needs no transpose. Elsewhere each axis is a product with a constant matrix.

    Args:
        resolution: height and width of the map.
        side: cells along each axis.
    """

    def __init__(self, resolution: tuple[int, int], side: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.side = side
        self.rows: Tensor | None
        self.columns: Tensor | None
        regular = all(length % side == 0 for length in resolution)
        # Zeros and ones, which every type holds exactly; ``_averages`` divides them.
        rows, columns = (
            None if regular else torch.from_numpy(_members(length, side)) for length in resolution
        )
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool: (batch, h * w, C) to (batch, side * side, C)."""
        if self.rows is None or self.columns is None:
            return self._of_equal_cells(tokens)
        maps = as_map(tokens, self.resolution)
        # Projections of one axis after the other. A product of a constant with maps would first be
        # repeated for every image, which OpenVINO gets wrong where the batch is open.
        narrow = functional.linear(maps, _averages(self.columns)).transpose(2, 3)
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
    """Which positions of an axis each cell averages, as ones: (side, length)."""
    places, cells = np.arange(length), np.arange(side)[:, None]
    first, end = cells * length // side, -(-(cells + 1) * length // side)
    return ((first <= places) & (places < end)).astype(np.float32)


def _averages(members: Tensor) -> Tensor:
    return members / members.sum(dim=1, keepdim=True)
