"""Ways to write a folded model in standard operators. All are equal; their speed is not.

Each form of the slide attention is one file; ``FORMS`` in ``choice.py`` names them. ``lower``
rewrites a whole model: every rewrite is exact.
"""

import copy
from collections.abc import Mapping

from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.lowerings.bias import BiasApart
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
from slide_deploy.lowerings.map_stages import count_map_stages, write_map_stages
from slide_deploy.lowerings.merging import TransposedPatchMerging
from slide_deploy.lowerings.normalised import Rewrite, absorb_bias, fold_affine
from slide_deploy.lowerings.projection import contiguous
from slide_deploy.lowerings.window import static_window_attention
from slide_deploy.models.slide_attention import FoldedSlideAttention, SlideAttention
from slide_deploy.models.slide_swin import Block, Mlp, PatchMerging, SlideSwinTrunk
from slide_deploy.models.window_attention import WindowAttention
from slide_deploy.surgery import replace_module
from slide_deploy.traits import PLAIN, Traits

__all__ = [
    "DEFAULT_LOWERING",
    "FORMS",
    "Chooser",
    "FileChooser",
    "Lowering",
    "Traits",
    "chosen",
    "for_file",
    "lower",
    "refuse_strips",
]


def lower(
    model: nn.Module,
    lowering: Lowering | Chooser | Mapping[str, Lowering] = DEFAULT_LOWERING,
    traits: Traits = PLAIN,
) -> nn.Module:
    """Write every layer of a folded model in a form that exports to standard operators.

    Args:
        model: folded, in evaluation mode; it is left as it is. No two blocks share a layer.
        lowering: of the slide attentions: one for all, a function that is asked for each, or what
            ``chosen`` gave.
        traits: how the rest of the model is written.

    Returns:
        A copy that computes the same, rank 4 at most; its tensors are contiguous.

    Raises:
        InputError: if an attention is still branched, or cannot be written so.
    """
    lowerings = lowering if isinstance(lowering, Mapping) else chosen(model, lowering)
    rewrite = absorb_bias if traits.bare_products else fold_affine
    lowered = copy.deepcopy(model)
    rest = list(lowered.named_modules())
    if traits.map_stages and (count := count_map_stages(lowered, lowerings)):
        assert isinstance(lowered, SlideSwinTrunk)
        write_map_stages(lowered, lowerings, count)
        written = tuple(f"layers.{stage}." for stage in range(count))
        rest = [(name, module) for name, module in rest if not name.startswith(written)]
    for name, module in rest:
        if type(module) is SlideAttention:  # subclasses may compute something else
            raise InputError(f"{name} is still branched: fold the model before lowering it.")
        if isinstance(module, FoldedSlideAttention):
            lowered = replace_module(
                lowered, name, lowered_attention(name, module, lowerings[name])
            )
        elif isinstance(module, Block):
            _lower_block(module, rewrite, traits.bare_products)
        elif isinstance(module, Mlp):
            replace_module(module, "fc1", BiasApart(module.fc1))
            replace_module(module, "fc2", BiasApart(module.fc2))
        elif isinstance(module, PatchMerging):
            lowered = replace_module(lowered, name, TransposedPatchMerging(module, rewrite))
    _make_contiguous(lowered)
    return lowered.eval()


def _make_contiguous(model: nn.Module) -> None:
    """Lay out every tensor row by row: a checkpoint keeps the strides of training."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = contiguous(tensor.data)


def _lower_block(block: Block, rewrite: Rewrite, head_products: bool) -> None:
    block.norm2, block.mlp.fc1 = rewrite(block.norm2, block.mlp.fc1)
    if isinstance(block.attn, FoldedSlideAttention):
        # Most forms project by convolutions, which add their biases for nothing.
        block.norm1, block.attn.qkv = fold_affine(block.norm1, block.attn.qkv)
    elif isinstance(block.attn, WindowAttention):
        block.norm1, block.attn.qkv = rewrite(block.norm1, block.attn.qkv)
        block.attn = static_window_attention(block.attn, block.attn_mask, head_products)
        block.attn_mask = None
