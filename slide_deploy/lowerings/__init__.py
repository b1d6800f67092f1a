"""Ways to write a folded model in standard operators. All are equal; their speed is not.

Each form is one file. ``lower`` rewrites a whole model; a new form is a new entry of ``FORMS``.
"""

import copy

from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.lowerings.depthwise import DepthwiseSlideAttention
from slide_deploy.lowerings.static_window import StaticWindowAttention
from slide_deploy.models.slide_attention import FoldedSlideAttention, SlideAttention
from slide_deploy.models.slide_swin import Block
from slide_deploy.models.window_attention import WindowAttention
from slide_deploy.surgery import replace_module

FORMS = {"depthwise": DepthwiseSlideAttention}
DEFAULT_FORM = "depthwise"


def lower(model: nn.Module, form: str = DEFAULT_FORM) -> nn.Module:
    """Write every attention of a folded model in a form that exports to standard operators.

    Args:
        model: folded, in evaluation mode; it is left as it is.
        form: a key of ``FORMS``, for the slide attentions.

    Returns:
        A copy that computes the same, rank 4 at most inside slide attention.

    Raises:
        InputError: if the form is unknown or an attention is still branched.
    """
    if form not in FORMS:
        raise InputError(f"{form} is not a lowering: choose one of {', '.join(FORMS)}.")
    lowered = copy.deepcopy(model)
    for name, module in list(lowered.named_modules()):
        if isinstance(module, SlideAttention):
            raise InputError(f"{name} is still branched: fold the model before lowering it.")
        if isinstance(module, FoldedSlideAttention):
            lowered = replace_module(lowered, name, FORMS[form](module))
        elif isinstance(module, Block) and isinstance(module.attn, WindowAttention):
            module.attn = StaticWindowAttention(module.attn, module.attn_mask)
            module.attn_mask = None
    return lowered.eval()
