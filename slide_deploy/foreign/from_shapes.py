"""Slide attentions read from the parts of a layer: told by their shapes, and by names where usual.

What shapes leave open is tried: which branch is which, how the rows of the projection lie, what the
scale is, what stands outside the map.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from slide_deploy.folding.formulas import GEOMETRY, distance_from_shift, largest
from slide_deploy.folding.layer import folded_layer
from slide_deploy.foreign.parts import (
    Branch,
    Projections,
    branches_of,
    projections_of,
    roles,
    tables_of,
)
from slide_deploy.foreign.readings import Reading
from slide_deploy.models.slide_attention import (
    PADDING_MODES,
    SlideAttention,
    SlideAttentionConfig,
)

# A class leaves a handful of readings open; parts of several attentions in one leave hundreds.
_MOST_READINGS = 200


def read_shapes(layer: nn.Module, channels: int) -> Iterator[Reading]:
    """Slide attentions that a layer may be, the likeliest first.

    Args:
        layer: of any class.
        channels: C, of what it takes.
    """
    branches = branches_of(layer)
    if len(branches) < 2 or odd_geometry(branches):
        return
    readings = _settings(layer, branches, channels)
    for config, projections, used, table, by_head in islice(readings, _MOST_READINGS):
        branched = _built(config, projections, used, table, by_head)
        yield Reading(
            folded_layer(branched),
            # One branch may stand in two roles.
            tuple(dict.fromkeys(branch.name for branch in used)),
            added=True,
            shift_distance=distance_from_shift(branched.dep_conv.weight, config.kernel_size),
            shift_bias=largest(branched.dep_conv.bias),
            position_bias=largest(branched.relative_position_bias_table),
            scale=config.scale,
        )


def odd_geometry(branches: tuple[Branch, ...]) -> str | None:
    """Why kernels of branches cannot be added, as a clause; None where they can."""
    first = branches[0]
    for field in GEOMETRY:
        for branch in branches[1:]:
            ours, theirs = getattr(first.conv, field), getattr(branch.conv, field)
            if ours != theirs:
                return (
                    f"{first.name} has {field} {ours} and {branch.name} has {theirs}; only "
                    f"branches of one geometry can be folded"
                )
    for field in ("stride", "dilation"):
        value = getattr(first.conv, field)
        if value != (1, 1):
            return (
                f"{first.name} has {field} {value}; only neighbourhoods without gaps can be folded"
            )
    return None


def _settings(
    layer: nn.Module, branches: tuple[Branch, ...], channels: int
) -> Iterator[
    tuple[SlideAttentionConfig, Projections, tuple[Branch, Branch, Branch], Tensor | None, bool]
]:
    conv = branches[0].conv
    head_dim, side = conv.in_channels, conv.kernel_size[0]
    for projections in projections_of(layer, head_dim):
        inner, dim = projections.proj.weight.shape[1], projections.qkv.weight.shape[1]
        heads = inner // head_dim
        for used in roles(branches) if dim == channels else ():
            for mode in _padding_modes(conv):
                for scale in _scales(layer, head_dim):
                    for table in tables_of(layer, heads, side**2):
                        config = SlideAttentionConfig(
                            dim,
                            heads,
                            kernel_size=side,
                            qkv_bias=projections.qkv.bias is not None,
                            dim_reduction=dim // inner,
                            rpb=table is not None,
                            share_dwc_kernel=len({branch.name for branch in used}) == 2,
                            share_qkv=projections.parts == 1,
                            qk_scale=scale,
                            padding_mode=mode,
                        )
                        for by_head in (True, False) if projections.parts == 3 else (True,):
                            yield config, projections, used, table, by_head


def _padding_modes(conv: nn.Conv2d) -> tuple[Any, ...]:
    """What may stand outside the map: known, unless the layer pads apart from its convolutions."""
    half = conv.kernel_size[0] // 2
    if conv.padding in ("same", (half, half)):
        return (conv.padding_mode,)
    return PADDING_MODES if conv.padding in ("valid", (0, 0)) else ()


def _scales(layer: nn.Module, head_dim: int) -> dict[float | None, None]:
    """Factors on the logits: those that a layer names, the default as None, and that of a head."""
    scales: dict[float | None, None] = {}
    for name in ("scale", "qk_scale"):
        value = getattr(layer, name, None)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, int | float) and math.isfinite(value) and value:
            scales[float(value)] = None
    return scales | {None: None, head_dim**-0.5: None}


@torch.no_grad()
def _built(
    config: SlideAttentionConfig,
    projections: Projections,
    used: tuple[Branch, Branch, Branch],
    table: Tensor | None,
    by_head: bool,
) -> SlideAttention:
    """A slide attention of these parts, in float64.

    Args:
        config: its settings.
        projections: of the layer.
        used: the branch of both sides, of the keys and of the values.
        table: (head, offset), or None.
        by_head: whether rows of the projection are (head, q|k|v, d), not (q|k|v, head, d).
    """
    attention = SlideAttention(config).double().eval()
    split = (config.num_heads, projections.parts, config.head_dim)

    def rows(tensor: Tensor) -> Tensor:
        if by_head:
            return tensor
        swapped = tensor.unflatten(0, (split[1], split[0], split[2]))
        return swapped.transpose(0, 1).flatten(0, 2)

    def fill(ours: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
        ours.weight.copy_(weight)
        if ours.bias is not None:
            ours.bias.copy_(torch.zeros_like(ours.bias) if bias is None else bias)

    qkv, proj = projections.qkv, projections.proj
    fill(attention.qkv, rows(qkv.weight), None if qkv.bias is None else rows(qkv.bias))
    fill(attention.proj, proj.weight, proj.bias)
    ours = (attention.dep_conv, attention.dep_conv1, attention.dep_conv2)
    for conv, branch in zip(ours, used, strict=True):
        if conv is not None:
            fill(conv, branch.conv.weight, branch.conv.bias)
    if attention.relative_position_bias_table is not None and table is not None:
        attention.relative_position_bias_table.copy_(table[None, :, None, :, None, None])
    return attention.requires_grad_(False)
