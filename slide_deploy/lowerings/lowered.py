"""A slide attention in one of the forms: the layouts around it, its bands, its last projection."""

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.bands import bands
from slide_deploy.lowerings.choice import FORMS, Lowering
from slide_deploy.models.slide_attention import FoldedSlideAttention


class LoweredSlideAttention(nn.Module):
    """A folded slide attention, ready for export.

    Args:
        folded: the layer to write.
        lowering: how.

    Raises:
        InputError: if the form cannot write this layer, or the map has fewer rows than strips.
    """

    def __init__(self, folded: FoldedSlideAttention, lowering: Lowering) -> None:
        super().__init__()
        self.layout = folded.layout
        self.resolution = folded.resolution
        self.radius = folded.config.kernel_size // 2
        self.strips = lowering.strips
        if self.resolution is not None:  # a layer of maps learns of its size when it runs
            bands(self.resolution[0], self.strips, self.radius)
        self.form = FORMS[lowering.form](folded)
        self.proj = folded.proj

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, None, None]:
        """Attend; shapes as in ``SlideAttentionBase.forward``."""
        if self.layout == "nchw":
            return self._attend(x.permute(0, 2, 3, 1)).transpose(1, 2).reshape(x.shape), None, None
        assert self.resolution is not None
        return self._attend(x.reshape(-1, *self.resolution, x.shape[-1]))

    def _attend(self, rows: Tensor) -> Tensor:
        """(batch, height, width, dim) to (batch, height * width, dim)."""
        cut = bands(rows.shape[1], self.strips, self.radius)
        if len(cut) == 1:  # a slice of everything is an operator that Core ML's converter lacks
            return self.proj(self.form(rows, cut[0]))
        parts = [self.form(rows[:, band.first : band.last], band) for band in cut]
        return self.proj(torch.cat(parts, dim=1))
