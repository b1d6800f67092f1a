"""Read slide attentions from the parts of a layer, by their shapes and, where usual, their names.

Shapes leave some settings open: the role of each branch, the order of the projection's rows, the
scale and the padding mode. Every combination is yielded as a reading of its own.
"""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from slide_deploy.folding.formulas import GEOMETRY, distance_from_shift, largest
from slide_deploy.folding.layer import fold_layer
from slide_deploy.foreign.parts import (
    Branch,
    Projections,
    branches_of,
    projections_of,
    roles,
    tables_of,
)
from slide_deploy.foreign.proof import Reading
from slide_deploy.models.slide_attention import (
    PADDING_MODES,
    SlideAttention,
    SlideAttentionConfig,
)

# One attention leaves a handful of readings. A layer that holds parts of several leaves hundreds.
_MAX_READINGS = 200


def read_shapes(layer: nn.Module, channels: int) -> Iterator[Reading]:
    """Yield the slide attentions that a layer may be, the likeliest first.

    Args:
        layer: layer of any class.
        channels: number of input channels, C.
    """
    branches = branches_of(layer)
    if len(branches) < 2 or odd_geometry(branches):
        return
    readings = _settings(layer, branches, channels)
    for config, projections, used, table, by_head in islice(readings, _MAX_READINGS):
        branched = _built(config, projections, used, table, by_head)
        shift = _nearest_to_shift(branched, config.kernel_size)
        yield Reading(
            fold_layer(branched),
            # One branch may have two roles.
            tuple(dict.fromkeys(branch.name for branch in used)),
            added=True,
            shift_distance=distance_from_shift(shift.weight, config.kernel_size),
            shift_bias=largest(shift.bias),
            position_bias=largest(branched.relative_position_bias_table),
            scale=config.scale,
        )


def _nearest_to_shift(branched: SlideAttention, kernel_size: int) -> nn.Conv2d:
    """Return the branch that is nearest to a shift: names need not tell which one it is."""
    convs = (branched.dep_conv, branched.dep_conv1, branched.dep_conv2)
    known = [conv for conv in convs if conv is not None]
    return min(known, key=lambda conv: distance_from_shift(conv.weight, kernel_size))


def odd_geometry(branches: tuple[Branch, ...]) -> str | None:
    """Return why the branches' kernels cannot be added, as a clause; None if they can."""
    first = branches[0]
    for field in GEOMETRY:
        for branch in branches[1:]:
            value, other = getattr(first.conv, field), getattr(branch.conv, field)
            if value != other:
                return (
                    f"{first.name} has {field} {value} and {branch.name} has {other}; only "
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
    """Return the possible padding modes.

    There is one, unless the layer pads its input before convolutions without padding.
    """
    half = conv.kernel_size[0] // 2
    if conv.padding in ("same", (half, half)):
        return (conv.padding_mode,)
    return PADDING_MODES if conv.padding in ("valid", (0, 0)) else ()


def _scales(layer: nn.Module, head_dim: int) -> dict[float | None, None]:
    """Return possible logit scales: the layer's attributes, None for the default, and d^-0.5."""
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
    """Build a slide attention from these parts, in float64.

    Args:
        config: settings of the attention.
        projections: the layer's projections.
        used: the branches for keys and values, for keys only, and for values only.
        table: position biases (head, offset), or None.
        by_head: whether the projection's rows are (head, q|k|v, d) rather than (q|k|v, head, d).
    """
    attention = SlideAttention(config).double().eval()
    split = (config.num_heads, projections.parts, config.head_dim)

    def rows(tensor: Tensor) -> Tensor:
        if by_head:
            return tensor
        swapped = tensor.unflatten(0, (split[1], split[0], split[2]))
        return swapped.transpose(0, 1).flatten(0, 2)

    def fill(module: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> None:
        module.weight.copy_(weight)
        if module.bias is not None:
            module.bias.copy_(torch.zeros_like(module.bias) if bias is None else bias)

    qkv, proj = projections.qkv, projections.proj
    fill(attention.qkv, rows(qkv.weight), None if qkv.bias is None else rows(qkv.bias))
    fill(attention.proj, proj.weight, proj.bias)
    convs = (attention.dep_conv, attention.dep_conv1, attention.dep_conv2)
    for conv, branch in zip(convs, used, strict=True):
        if conv is not None:
            fill(conv, branch.conv.weight, branch.conv.bias)
    if attention.relative_position_bias_table is not None and table is not None:
        attention.relative_position_bias_table.copy_(table[None, :, None, :, None, None])
    return attention.requires_grad_(False)
