"""Fold one layer, in float64: a branched slide attention becomes a folded one."""

from dataclasses import replace

import torch

from slide_deploy.folding import formulas
from slide_deploy.models.slide_attention import FoldedSlideAttention, SlideAttention


@torch.no_grad()
def fold_layer(branched: SlideAttention) -> FoldedSlideAttention:
    """Return the folded form of a layer.

    Args:
        branched: layer of any floating-point type, with branches of the same geometry. It is not
            changed.

    Returns:
        The folded layer in float64, on the CPU, in evaluation mode.
    """
    config = replace(branched.config, padding_mode=branched.dep_conv.padding_mode)
    folded = FoldedSlideAttention(config, branched.layout, branched.resolution).double().eval()
    for target, source in ((folded.qkv, branched.qkv), (folded.proj, branched.proj)):
        target.load_state_dict(source.state_dict())
    shift = (branched.dep_conv.weight, branched.dep_conv.bias)
    key_branch = branched.dep_conv1
    value_branch = branched.dep_conv2 if branched.dep_conv2 is not None else key_branch
    table = branched.relative_position_bias_table
    position_bias = None if table is None else table.reshape(config.num_heads, config.offsets)

    key = formulas.merge_branches(shift, (key_branch.weight, key_branch.bias))
    value = formulas.merge_branches(shift, (value_branch.weight, value_branch.bias))
    key = formulas.fold_into_keys(
        *formulas.per_head(*key, config.num_heads), config.scale, position_bias, config.num_heads
    )
    value = formulas.per_head(*value, config.num_heads)
    for conv, (weight, bias) in ((folded.key_conv, key), (folded.value_conv, value)):
        conv.load_state_dict({"weight": weight, "bias": bias})
    return folded
