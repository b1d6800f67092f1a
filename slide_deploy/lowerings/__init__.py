"""The forms of a folded slide attention: ways to write it in standard operators.

All forms compute the same function at different speeds. Each form is one file; ``FORMS`` in
``choice.py`` lists them. ``lower`` writes all slide attentions of a model in these forms. The
passes over the traced program rewrite everything else.
"""

import copy
from collections.abc import Mapping

from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.folding.surgery import replace_module
from slide_deploy.lowerings.choice import (
    DEFAULT_LOWERING,
    FORMS,
    Chooser,
    FileChooser,
    Lowering,
    chosen,
    for_file,
)
from slide_deploy.lowerings.lowered import lowered_attention, refuse_strips
from slide_deploy.lowerings.projection import contiguous
from slide_deploy.models.slide_attention import FoldedSlideAttention, SlideAttention

__all__ = [
    "DEFAULT_LOWERING",
    "FORMS",
    "Chooser",
    "FileChooser",
    "Lowering",
    "chosen",
    "for_file",
    "lower",
    "refuse_strips",
]


def lower(
    model: nn.Module,
    lowering: Lowering | Chooser | Mapping[str, Lowering] = DEFAULT_LOWERING,
    share_weights: bool = False,
) -> nn.Module:
    """Write every slide attention of a folded model in a form of standard operators.

    Args:
        model: a folded model in evaluation mode; it is not changed.
        lowering: one lowering for all attentions, a function from an attention to its lowering, or
            the result of ``chosen``.
        share_weights: use the model's own tensors in the copy wherever they do not change. This
            avoids doubling the memory of a large network; then neither model may be changed.

    Returns:
        A copy that computes the same function; its tensors are contiguous.

    Raises:
        InputError: an attention is not folded, or its form cannot write it.
    """
    lowerings = lowering if isinstance(lowering, Mapping) else chosen(model, lowering)
    tensors = (*model.parameters(), *model.buffers()) if share_weights else ()
    lowered = copy.deepcopy(model, {id(each): each for each in tensors})
    for name, module in list(lowered.named_modules()):
        if type(module) is SlideAttention:  # subclasses may compute something else
            raise InputError(f"{name} is still branched: fold the model before lowering it.")
        if isinstance(module, FoldedSlideAttention):
            lowered = replace_module(
                lowered, name, lowered_attention(name, module, lowerings[name])
            )
    _make_contiguous(lowered)
    return lowered.eval()


def _make_contiguous(model: nn.Module) -> None:
    """Make every tensor contiguous; tensors of a checkpoint keep the strides of training."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = contiguous(tensor.data)
