"""Patch merging as one transpose and one product: no strided slices, no concatenation.

    (rows / 2, row in a cell, columns / 2, column in a cell * C), the middle two swapped: (cell, 4C)

The four positions of a cell then stand row by row, where the trained order is column by column; the
weights of the product are put into the same order.
"""

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.normalised import Rewrite
from slide_deploy.lowerings.projection import constant_linear
from slide_deploy.models.slide_swin import PatchMerging


class TransposedPatchMerging(nn.Module):
    """A patch merging ready for export.

    Args:
        trained: the layer to write.
        rewrite: moves the weights of the normalisation into the product.
    """

    @torch.no_grad()
    def __init__(self, trained: PatchMerging, rewrite: Rewrite) -> None:
        super().__init__()
        self.resolution = trained.resolution
        # (column, row, C) to (row, column, C)
        order = torch.arange(trained.reduction.in_features).reshape(2, 2, -1)
        self.norm, reduction = rewrite(trained.norm, trained.reduction)
        weight = reduction.weight[:, order.transpose(0, 1).flatten()]
        self.reduction = constant_linear(weight, reduction.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Merge: (batch, H*W, C) to (batch, H*W/4, 2C)."""
        height, width = self.resolution
        channels = tokens.shape[-1]
        cells = tokens.reshape(-1, 2, width // 2, 2 * channels).transpose(1, 2)
        return self.reduction(self.norm(cells.reshape(-1, height * width // 4, 4 * channels)))
