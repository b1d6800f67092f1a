"""Ways to write a folded slide attention in standard operators. All are equal; their speed is not.

Each form is one file; ``FORMS`` in ``choice.py`` names them. ``lower`` writes all slide attentions
of a model so, and leaves everything else to the passes over the traced program.
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
        model: folded, in evaluation mode; it is left as it is.
        lowering: one for all, a function that is asked for each, or what ``chosen`` gave.
        share_weights: let the copy have the very tensors of the model where they stay as they are,
            for who changes neither: a large network takes as much memory again otherwise.

    Returns:
        A copy that computes the same; its tensors are contiguous.

    Raises:
        InputError: if an attention is still branched, or cannot be written so.
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
    """Lay out every tensor row by row: a checkpoint keeps the strides of training."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = contiguous(tensor.data)
