"""Find the parts of a slide attention in a layer of another project, by their shapes.

    branches     two or three convolutions d -> d * K with d groups and the same geometry
    projections  dim -> 3 * inner or inner, and inner -> dim; linear layers or 1x1 convolutions
    table        head * K position biases

Parts with the names of the published models come first, but no name is required.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn

from slide_deploy.folding.formulas import distance_from_shift

BRANCHES = ("dep_conv", "dep_conv1", "dep_conv2")
# Largest distance from a pure shift at which a kernel counts as a trained shift branch.
_NEAR_A_SHIFT = 0.5


@dataclass(frozen=True)
class Branch:
    """A convolution that outputs every neighbour of each feature."""

    name: str
    conv: nn.Conv2d


@dataclass(frozen=True)
class AttentionProjection:
    """A linear layer: weight (outputs, inputs) and bias (outputs) or None."""

    name: str
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Projections:
    """The projections of one attention.

    Attributes:
        qkv: projection of q, k and v, dim -> ``parts`` * inner.
        proj: output projection, inner -> dim.
        parts: 3, or 1 if one projection serves as q, k and v.
    """

    qkv: AttentionProjection
    proj: AttentionProjection
    parts: int


def branches_of(layer: nn.Module) -> tuple[Branch, ...]:
    """Return the branches in a layer, those with the names of the published models first."""
    found = [
        Branch(name, module)
        for name, module in layer.named_modules()
        if isinstance(module, nn.Conv2d)
        and (_outputs_neighbours(module) or last_name(name) in BRANCHES)
    ]
    place = {name: index for index, name in enumerate(BRANCHES)}
    return tuple(sorted(found, key=lambda branch: place.get(last_name(branch.name), len(place))))


def is_named(branches: tuple[Branch, ...]) -> bool:
    """Whether the branches have the names of the published models."""
    return tuple(last_name(branch.name) for branch in branches[:2]) == BRANCHES[:2]


def has_shift_branch(branches: tuple[Branch, ...]) -> bool:
    """Whether one of the branches nearly copies neighbours, as only a slide attention's does."""
    return any(
        _outputs_neighbours(branch.conv)
        and distance_from_shift(branch.conv.weight.cpu(), branch.conv.kernel_size[0])
        < _NEAR_A_SHIFT
        for branch in branches
    )


def roles(branches: tuple[Branch, ...]) -> Iterator[tuple[Branch, Branch, Branch]]:
    """Yield the possible branches for (keys and values, keys only, values only)."""
    if len(branches) == 2:
        yield branches[0], branches[1], branches[1]
    elif len(branches) == 3:
        yield from permutations(branches, 3)
        for first, second in ((0, 1), (0, 2), (1, 2)):
            yield branches[first], branches[second], branches[second]


def projections_of(layer: nn.Module, head_dim: int) -> list[Projections]:
    """Return every pair of projections in a layer that fits heads of ``head_dim`` features."""
    found = list(_linears(layer))
    fitting = []
    for qkv in found:
        for proj in found:
            (outputs, dim), (back, inner) = qkv.weight.shape, proj.weight.shape
            if qkv is proj or back != dim or outputs % inner or inner % head_dim or dim % inner:
                continue
            if outputs // inner in (1, 3):
                fitting.append(Projections(qkv, proj, outputs // inner))
    named = [
        each
        for each in fitting
        if (last_name(each.qkv.name), last_name(each.proj.name)) == ("qkv", "proj")
    ]
    return named or fitting


def others_of(layer: nn.Module) -> list[str]:
    """Return the names of parameters in layers that no slide attention has, as in a LayerNorm."""
    return [
        f"{name}.{own}" if name else own
        for name, module in layer.named_modules()
        if name and not _is_known(module)
        for own, _ in module.named_parameters(recurse=False)
    ]


def tables_of(layer: nn.Module, heads: int, offsets: int) -> Iterator[Tensor | None]:
    """Yield the possible tables of position biases as (head, offset), then None for no table."""
    inside = {f"{name}." for name, module in layer.named_modules() if name and _is_known(module)}
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        if tensor.numel() != heads * offsets or name.startswith(tuple(inside)):
            continue
        shape = [size for size in tensor.shape if size > 1]
        if shape != [offsets, heads] or heads == offsets:
            yield tensor.detach().reshape(heads, offsets)
        if shape == [offsets, heads]:
            yield tensor.detach().reshape(offsets, heads).T
    yield None


def last_name(name: str) -> str:
    """Return the last component of a module's dotted name."""
    return name.rpartition(".")[2]


def _outputs_neighbours(conv: nn.Conv2d) -> bool:
    height, width = conv.kernel_size
    square = height == width and height % 2 == 1 and height > 1
    return (
        square
        and conv.groups == conv.in_channels
        and conv.out_channels == conv.in_channels * height * width
    )


def _is_known(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear)


@torch.no_grad()
def _linears(layer: nn.Module) -> Iterator[AttentionProjection]:
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            yield AttentionProjection(name, module.weight, module.bias)
        elif isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
            yield AttentionProjection(name, module.weight.flatten(1), module.bias)
