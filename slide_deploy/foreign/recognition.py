"""A slide attention of this project from a class of another one, proved against that class.

What the shapes of a layer leave open is tried: which branch is which, how the rows of the
projection lie, what the scale is. The layer itself decides, by what it answers in float64.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.folding import GEOMETRY, difference
from slide_deploy.foreign.calls import Call, find_call
from slide_deploy.foreign.parts import (
    BRANCHES,
    Branch,
    Projections,
    branches_of,
    is_named,
    looks_trained,
    others_of,
    projections_of,
    roles,
    tables_of,
)
from slide_deploy.models.slide_attention import (
    PADDING_MODES,
    SlideAttention,
    SlideAttentionBase,
    SlideAttentionConfig,
)

# A class leaves a handful of readings open; parts of several attentions in one leave hundreds.
_MOST_READINGS = 200


@dataclass(frozen=True)
class Recognised:
    """A layer of another project and the slide attention that it is.

    Attributes:
        attention: branched, in float64, on the CPU; it answers as the layer does.
        branches: names of the layer's convolutions that are added.
        call: how the layer is called.
        layer: a copy of it in float64.
    """

    attention: SlideAttention
    branches: tuple[str, ...]
    call: Call
    layer: nn.Module

    def difference(self, other: nn.Module) -> float:
        """How far an attention is from the layer's own ``forward``.

        Args:
            other: a ``SlideAttentionBase``, in any type.

        Returns:
            The largest difference in float64 on random maps with an interior and every border;
            absolute, or over the largest output where that exceeds 1.
        """
        other = copy.deepcopy(other).cpu().double()
        return max(_differences(self.layer, self.call, other, self.attention.config.kernel_size))


def find_foreign(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers that carry the branches of a slide attention and are of no class of this project.

    Args:
        model: searched as a whole.

    Returns:
        Name and layer, each the innermost that holds all its branches and projections.
    """
    modules = list(model.named_modules(remove_duplicate=False))[::-1]
    taken = [name for name, module in modules if _is_ours(module)]
    found: dict[str, nn.Module] = {}
    # What is only named like a slide attention is found last: its projections may stand in a layer
    # around it.
    for is_one in (_is_whole, _is_named):
        for name, module in modules:
            apart = not any(_is_within(name, one) or _is_within(one, name) for one in taken)
            if apart and is_one(module):
                found[name] = module
                taken.append(name)
    return list(found.items())


def recognise(layer: nn.Module, name: str, limit: float) -> Recognised:
    """Read a slide attention from a layer and prove that it answers as the layer does.

    Args:
        layer: as ``find_foreign`` gives it, in evaluation mode.
        name: what to call it in errors.
        limit: the largest difference that counts as agreement, as ``Recognised.difference`` has it.

    Raises:
        InputError: if its parts cannot be told, if it cannot be called, or if it answers otherwise.
    """
    title = f"{name or 'The model'} ({type(layer).__qualname__})"
    branches = branches_of(layer)
    _refuse_other_geometry(title, branches)
    names = ", ".join(branch.name for branch in branches)
    if len(branches) > len(BRANCHES):
        raise InputError(
            f"{title} has {len(branches)} branches of slide attention ({names}): only a layer of "
            f"two or three can be folded."
        )
    readings = islice(_readings(layer, branches), _MOST_READINGS)
    first = next(readings, None)
    if first is None:
        raise InputError(
            f"{title} has branches of slide attention ({names}) and no projections that fit them: "
            f"what it computes cannot be read from its parts, so that it cannot be folded."
        )
    own = copy.deepcopy(layer).cpu().double().eval()
    config = first[0].config
    with _in_float64():
        try:
            call = find_call(own, config.dim, config.kernel_size)
        except TypeError as error:
            raise InputError(
                f"{title} could not be called to prove its fold ({error}): only a layer whose "
                f"forward takes maps, or tokens and their height and width, can be folded."
            ) from error
    closest, where = math.inf, ""
    for attention, used in chain((first,), readings):
        border, interior = _differences(own, call, attention, config.kernel_size)
        if max(border, interior) <= limit:
            _adopt_layout(attention, call)
            return Recognised(attention, used, call, own)
        if not max(border, interior) >= closest:
            closest = max(border, interior)
            where = ", at the borders of a map only" if interior <= limit else ""
    if closest == math.inf:
        raise InputError(
            f"{title} answers NaN or infinity, in float64 too, so that its fold cannot be proved: "
            f"use another checkpoint."
        )
    others = others_of(layer)
    besides = f" (it also has {', '.join(others[:3])})" if others else ""
    raise InputError(
        f"{title} has the parts of a slide attention and computes something else{besides}: with "
        f"its weights a slide attention answers up to {closest:.1e} apart{where}, which is more "
        f"than {limit:.0e}, so that it cannot be folded."
    )


def _adopt_layout(attention: SlideAttention, call: Call) -> None:
    attention.layout = "nchw" if call.layout == "nchw" else "tokens"
    attention.resolution = call.bound


def _is_ours(module: nn.Module) -> bool:
    """Whether a layer is of this project, with all in it: others look as if they had branches."""
    ours = __name__.partition(".")[0]
    packages = {type(each).__module__.partition(".")[0] for each in module.modules()}
    return type(module).__module__.partition(".")[0] == ours and packages <= {ours, "torch"}


def _is_within(name: str, other: str) -> bool:
    return name == other or name.startswith(f"{other}.") or not other


def _is_named(module: nn.Module) -> bool:
    return is_named(branches_of(module))


def _is_whole(module: nn.Module) -> bool:
    """Whether a layer has branches and projections that fit."""
    branches = branches_of(module)
    if len(branches) < 2:
        return False
    features = branches[0].conv.in_channels
    fitting = projections_of(module, features)
    if is_named(branches) or not fitting:
        return bool(fitting)
    alike = len({tuple(branch.conv.weight.shape) for branch in branches}) == 1
    shared = any(each.proj.weight.shape[1] > features for each in fitting)
    return alike and (shared or looks_trained(branches))


def _refuse_other_geometry(title: str, branches: tuple[Branch, ...]) -> None:
    first = branches[0]
    for field in GEOMETRY:
        for branch in branches[1:]:
            ours, theirs = getattr(first.conv, field), getattr(branch.conv, field)
            if ours != theirs:
                raise InputError(
                    f"{title}: {first.name} has {field} {ours} and {branch.name} has {theirs}; "
                    f"only branches of one geometry can be folded."
                )
    for field in ("stride", "dilation"):
        value = getattr(first.conv, field)
        if value != (1, 1):
            raise InputError(
                f"{title}: {first.name} has {field} {value}; only neighbourhoods without gaps can "
                f"be folded."
            )


def _readings(
    layer: nn.Module, branches: tuple[Branch, ...]
) -> Iterator[tuple[SlideAttention, tuple[str, ...]]]:
    """Slide attentions that a layer may be, the likeliest first, and the branches of each."""
    conv = branches[0].conv
    head_dim, side = conv.in_channels, conv.kernel_size[0]
    for projections in projections_of(layer, head_dim):
        inner, dim = projections.proj.weight.shape[1], projections.qkv.weight.shape[1]
        heads = inner // head_dim
        for used in roles(branches):
            # One branch may stand in two roles.
            names = tuple(dict.fromkeys(branch.name for branch in used))
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
                            share_dwc_kernel=len(names) == 2,
                            share_qkv=projections.parts == 1,
                            qk_scale=scale,
                            padding_mode=mode,
                        )
                        for by_head in (True, False) if projections.parts == 3 else (True,):
                            yield _built(config, projections, used, table, by_head), names


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


@torch.no_grad()
def _differences(
    layer: nn.Module, call: Call, attention: nn.Module, kernel_size: int
) -> tuple[float, float]:
    """How far an attention is from a layer at the borders and in the interior of maps."""
    assert isinstance(attention, SlideAttentionBase)
    channels, radius = attention.config.dim, kernel_size // 2
    generator = torch.Generator().manual_seed(0)
    border = interior = 0.0
    for factor, (height, width) in enumerate(call.sizes(kernel_size, channels), 1):
        # The second map is larger, in numbers too: limits that only some logits reach are seen.
        maps = factor**3 * torch.randn(
            2, channels, height, width, dtype=torch.float64, generator=generator
        )
        with _in_float64():
            expected = call.answer(layer, maps)
        tokens = attention.attend(maps.flatten(2).transpose(1, 2), height, width)
        answer = tokens.transpose(1, 2).reshape(maps.shape)
        inside = (..., slice(radius, height - radius), slice(radius, width - radius))
        border = max(border, difference(answer, expected))
        interior = max(interior, difference(answer[inside], expected[inside]))
    return border, interior


@contextmanager
def _in_float64() -> Iterator[None]:
    """Let tensors that a layer makes itself be of the type of its weights."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(before)
