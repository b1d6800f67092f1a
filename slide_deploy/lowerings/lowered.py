"""A slide attention in one of the forms, with its layout changes, strips and output projection."""

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.lowerings.choice import FORMS, Lowering
from slide_deploy.lowerings.projection import constant_conv, project_rows
from slide_deploy.lowerings.strips import Strip, strips
from slide_deploy.lowerings.surroundings import refuse_small, surrounded
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    SlideAttentionBase,
    known_size,
)


class LoweredSlideAttention(nn.Module):
    """A folded slide attention, ready for export.

    Args:
        folded: the layer to write.
        lowering: the form and the number of strips.

    Raises:
        InputError: the form cannot write this layer, or the feature map has fewer rows than strips
            or fewer than its padding mode needs.
    """

    def __init__(self, folded: FoldedSlideAttention, lowering: Lowering) -> None:
        super().__init__()
        self.is_nchw = folded.layout == "nchw"
        self.resolution = folded.resolution
        self.radius = folded.config.kernel_size // 2
        self.strips = lowering.strips
        # None if the padding is zeros, or if nothing outside the feature map is read.
        mode = folded.config.padding_mode
        self.padding_mode = mode if mode != "zeros" and self.radius else None
        if self.resolution is not None:  # the others get their size at run time
            strips(self.resolution[0], self.strips, self.radius)
            if self.padding_mode is not None:
                refuse_small(self.resolution, self.radius, self.padding_mode)
        self.form = FORMS[lowering.form](folded)
        weight, bias = folded.proj.weight, folded.proj.bias
        self.proj: nn.Module = folded.proj
        if self.form.is_nchw:
            self.proj = constant_conv(weight[:, :, None, None], bias)

    def forward(
        self, x: Tensor, size: tuple[int, int] | None = None
    ) -> Tensor | tuple[Tensor, None, None]:
        """Compute the attention; shapes as in ``SlideAttentionBase.forward``."""
        if self.is_nchw:
            out = self._attend(x)
            return out if self.form.is_nchw else out.permute(0, 3, 1, 2), None, None
        out = self._attend(x.reshape(-1, *known_size(size or self.resolution), x.shape[-1]))
        return (out.permute(0, 2, 3, 1) if self.form.is_nchw else out).flatten(1, 2)

    def _attend(self, rows: Tensor) -> Tensor:
        """Attend and project; the output has the layout of the form."""
        axis = 2 if self.is_nchw else 1
        cut = strips(rows.shape[axis], self.strips, self.radius)
        if self.padding_mode is not None:
            rows = surrounded(rows, (axis, axis + 1), self.radius, self.padding_mode)
            cut = tuple(strip.surrounded(self.radius) for strip in cut)
        if len(cut) == 1:  # Core ML's converter lacks the operator of a full slice
            return self._project(self._attend_strip(rows, cut[0]))
        parts = [
            self._attend_strip(rows.narrow(axis, strip.first, strip.last - strip.first), strip)
            for strip in cut
        ]
        return self._project(torch.cat(parts, dim=2 if self.form.is_nchw else 1))

    def _project(self, attended: Tensor) -> Tensor:
        if isinstance(self.proj, nn.Linear):
            return project_rows(self.proj, attended)
        projected: Tensor = self.proj(attended)
        return projected

    def _attend_strip(self, rows: Tensor, strip: Strip) -> Tensor:
        if self.form.is_nchw != self.is_nchw:
            rows = rows.permute((0, 3, 1, 2) if self.form.is_nchw else (0, 2, 3, 1))
        return self.form(rows, strip)


def lowered_attention(
    name: str, folded: FoldedSlideAttention, lowering: Lowering
) -> LoweredSlideAttention:
    """Write one layer of a model in a form.

    Args:
        name: name of the layer, for messages.
        folded: the layer to write.
        lowering: the form and the number of strips.

    Raises:
        InputError: the form cannot write the layer; the message names the layer.
    """
    try:
        return LoweredSlideAttention(folded, lowering)
    except InputError as error:
        raise InputError(f"{name or 'The attention'} as {lowering}: {error}") from error


def refuse_strips(model: nn.Module, lowering: Lowering) -> None:
    """Refuse more strips than a feature map has rows, before the slow fold.

    Args:
        model: a trained or folded model. Layers that get their size at run time are not checked.
        lowering: the lowering of all slide attentions.

    Raises:
        InputError: a feature map has too few rows; the message names the layer.
    """
    for name, module in model.named_modules():
        if isinstance(module, SlideAttentionBase) and module.resolution is not None:
            try:
                strips(module.resolution[0], lowering.strips, module.config.kernel_size // 2)
            except InputError as error:
                raise InputError(f"{name} as {lowering}: {error}") from error
