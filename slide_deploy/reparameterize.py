"""Surgery of folding: a branched model in, a folded copy and its certificate out."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from slide_deploy import folding
from slide_deploy.errors import InputError
from slide_deploy.foreign import HostedAttention, find_foreign, recognise
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    SlideAttention,
    SlideAttentionBase,
)
from slide_deploy.surgery import replace_module

# Folding is exact; float64 leaves 1e-14 of the largest output. What is a thousand times that off is
# not the same function.
LARGEST_ERROR = 1e-11


@dataclass(frozen=True)
class FoldedLayer:
    """What happened to one slide attention.

    Args:
        name: module name in the model.
        kernel_size: side of the neighbourhood.
        num_heads: heads.
        head_dim: features of a head.
        branches: convolutions that were added, by name.
        key_kernel: shape of the folded key convolution, (C * K, 1, k, k).
        error: largest difference between the trained layer's own ``forward`` and the folded
            attention, both in float64, on random maps with borders; absolute, or over the largest
            output where that exceeds 1.
        rounding: the same after the folded weights were rounded to the model's own type.
        shift_distance: largest difference between the shift branch's kernel and a pure shift.
        shift_bias: largest absolute bias of the shift branch.
        position_bias: largest absolute value of the bias table that went into the keys; 0 without.
        scale: factor that went into the keys.
    """

    name: str
    kernel_size: int
    num_heads: int
    head_dim: int
    branches: tuple[str, ...]
    key_kernel: tuple[int, ...]
    error: float
    rounding: float
    shift_distance: float
    shift_bias: float
    position_bias: float
    scale: float


@dataclass(frozen=True)
class Original:
    """What a fold is measured against.

    Args:
        difference: how far an attention is from the trained layer, in float64.
        branches: names of the convolutions that are added.
        like: a tensor of the type and on the device that the folded layer is to have.
    """

    difference: Callable[[SlideAttentionBase], float]
    branches: tuple[str, ...]
    like: Tensor


@dataclass(frozen=True)
class Certificate:
    """The report of a fold.

    Args:
        folded: the layers that were folded, in the model's order.
        already_folded: names of layers that were folded before.
    """

    folded: tuple[FoldedLayer, ...]
    already_folded: tuple[str, ...]

    @property
    def error(self) -> float:
        """The largest error of any layer, in float64."""
        return max((layer.error for layer in self.folded), default=0.0)

    @property
    def status(self) -> str:
        """One of "folded", "already folded", "nothing to fold"."""
        if self.folded:
            return "folded"
        return "already folded" if self.already_folded else "nothing to fold"


def reparameterize(model: nn.Module) -> tuple[nn.Module, Certificate]:
    """Fold every slide attention of a model; the model itself is left as it is.

    Args:
        model: any module in evaluation mode that holds ``SlideAttention`` layers, or layers of
            other classes that compute the same.

    Returns:
        A folded copy, and the certificate.

    Raises:
        InputError: if a layer is in training mode, if branches differ in geometry, or if a layer
            of another class looks branched and does not answer as a slide attention.
    """
    for name, module in model.named_modules():
        if module.training:
            raise InputError(
                f"{name or 'The model'} is in training mode: call .eval() before folding."
            )
    folded_model = copy.deepcopy(model)
    layers: list[FoldedLayer] = []
    already: list[str] = []
    replaced: dict[int, nn.Module] = {}
    foreign = dict(find_foreign(folded_model))
    for name, module in list(folded_model.named_modules(remove_duplicate=False)):
        if isinstance(module, FoldedSlideAttention):
            already.append(name)
        elif name in foreign or isinstance(module, SlideAttention):
            if id(module) not in replaced:
                fold = _fold_foreign if name in foreign else fold_attention
                replaced[id(module)], layer = fold(module, name)
                layers.append(layer)
            folded_model = replace_module(folded_model, name, replaced[id(module)])
    return folded_model, Certificate(tuple(layers), tuple(already))


def fold_attention(
    branched: SlideAttention, name: str = "attention"
) -> tuple[FoldedSlideAttention, FoldedLayer]:
    """Fold one attention.

    Args:
        branched: the trained layer.
        name: what to call it in errors and in the certificate.

    Returns:
        The folded layer, of the same type and device, and its line of the certificate.

    Raises:
        InputError: if its branches differ in geometry, or its weights overflow.
    """
    for branch_name, branch in _deformed_branches(branched):
        for field in folding.GEOMETRY:
            ours, theirs = getattr(branched.dep_conv, field), getattr(branch, field)
            if ours != theirs:
                raise InputError(
                    f"{name}: dep_conv has {field} {ours} and {branch_name} has {theirs}; only "
                    f"branches of one geometry can be folded."
                )
    branches = ("dep_conv", *(branch for branch, _ in _deformed_branches(branched)))
    original = Original(partial(_difference, branched), branches, branched.qkv.weight)
    return _fold(branched, name, original)


def _fold_foreign(layer: nn.Module, name: str) -> tuple[nn.Module, FoldedLayer]:
    """Fold a layer of another project; see ``fold_attention``.

    Raises:
        InputError: if it is no slide attention, or cannot be proved to be one.
    """
    found = recognise(layer, name, LARGEST_ERROR)
    like = next(layer.parameters())
    folded, line = _fold(found.attention, name, Original(found.difference, found.branches, like))
    return HostedAttention(folded, found.call, layer).eval(), line


def _fold(
    branched: SlideAttention, name: str, original: Original
) -> tuple[FoldedSlideAttention, FoldedLayer]:
    exact = _fold_in_float64(branched)
    rounded = copy.deepcopy(exact).to(original.like)
    config, table = branched.config, branched.relative_position_bias_table
    error, rounding = original.difference(exact), original.difference(rounded)
    if not rounding < math.inf:
        raise InputError(
            f"{name}: folded and branched attention differ by {error:.1e}, rounded by "
            f"{rounding:.1e}; its weights overflow: use another checkpoint."
        )
    if not error <= LARGEST_ERROR:
        raise InputError(
            f"{name}: folded and branched attention differ by {error:.1e}, which is more than "
            f"{LARGEST_ERROR:.0e}: the layer computes something else than its settings say."
        )
    layer = FoldedLayer(
        name=name,
        kernel_size=config.kernel_size,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        branches=original.branches,
        key_kernel=tuple(exact.key_conv.weight.shape),
        error=error,
        rounding=rounding,
        shift_distance=folding.distance_from_shift(branched.dep_conv.weight, config.kernel_size),
        shift_bias=folding.largest(branched.dep_conv.bias),
        position_bias=folding.largest(table),
        scale=config.scale,
    )
    return rounded, layer


def _deformed_branches(branched: SlideAttention) -> Iterator[tuple[str, nn.Conv2d]]:
    yield "dep_conv1", branched.dep_conv1
    if branched.dep_conv2 is not None:
        yield "dep_conv2", branched.dep_conv2


@torch.no_grad()
def _fold_in_float64(branched: SlideAttention) -> FoldedSlideAttention:
    config = replace(branched.config, padding_mode=branched.dep_conv.padding_mode)
    folded = FoldedSlideAttention(config, branched.layout, branched.resolution).double().eval()
    for ours, theirs in ((folded.qkv, branched.qkv), (folded.proj, branched.proj)):
        ours.load_state_dict(theirs.state_dict())
    shift = (branched.dep_conv.weight, branched.dep_conv.bias)
    key_branch = branched.dep_conv1
    value_branch = branched.dep_conv2 if branched.dep_conv2 is not None else key_branch
    table = branched.relative_position_bias_table
    position_bias = None if table is None else table.reshape(config.num_heads, config.offsets)

    key = folding.merge_branches(shift, (key_branch.weight, key_branch.bias))
    value = folding.merge_branches(shift, (value_branch.weight, value_branch.bias))
    key = folding.fold_into_keys(
        *folding.per_head(*key, config.num_heads), config.scale, position_bias, config.num_heads
    )
    value = folding.per_head(*value, config.num_heads)
    for conv, (weight, bias) in ((folded.key_conv, key), (folded.value_conv, value)):
        conv.load_state_dict({"weight": weight, "bias": bias})
    return folded


@torch.no_grad()
def _difference(branched: SlideAttention, folded: FoldedSlideAttention) -> float:
    """Largest difference in float64 on a random map with an interior and every border.

    Over the largest output where that exceeds 1.
    """
    config = branched.config
    height, width = config.kernel_size + 4, config.kernel_size + 1
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, config.dim, height, width, dtype=torch.float64, generator=generator)
    answers = []
    for form in (branched, folded):
        form = copy.deepcopy(form).cpu().double()
        x = maps if form.layout == "nchw" else maps.flatten(2).transpose(1, 2)
        # Called, not only its arithmetic: hooks and parametrizations are part of what it answers.
        answer = form(x, (height, width))
        answers.append(answer[0] if form.layout == "nchw" else answer)
    return folding.difference(answers[1], answers[0])
