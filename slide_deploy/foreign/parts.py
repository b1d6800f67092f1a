"""The parts of a slide attention in a class of another project, told by their shapes.

    branches     convolutions d -> d * K of d groups and one geometry, two or three
    projections  dim -> 3 * inner or inner, and inner -> dim, linear or convolutions of 1x1
    table        head * K numbers

The names of the trained models come first where a class has them; nothing depends on them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor, nn

from slide_deploy.folding.formulas import distance_from_shift

BRANCHES = ("dep_conv", "dep_conv1", "dep_conv2")
# A kernel that is nearer to a pure shift than this was one when training began.
_NEAR_A_SHIFT = 0.5


@dataclass(frozen=True)
class Branch:
    """A convolution that answers every neighbour of each feature."""

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
    """Those of q, k and v, and the last one.

    Attributes:
        qkv: dim to ``parts`` * inner.
        proj: inner to dim.
        parts: 3, or 1 where one projection serves as q, k and v.
    """

    qkv: AttentionProjection
    proj: AttentionProjection
    parts: int


def branches_of(layer: nn.Module) -> tuple[Branch, ...]:
    """The branches in a layer, those that have the names of the trained models first."""
    found = [
        Branch(name, module)
        for name, module in layer.named_modules()
        if isinstance(module, nn.Conv2d)
        and (_answers_neighbours(module) or own_name(name) in BRANCHES)
    ]
    place = {name: index for index, name in enumerate(BRANCHES)}
    return tuple(sorted(found, key=lambda branch: place.get(own_name(branch.name), len(place))))


def is_named(branches: tuple[Branch, ...]) -> bool:
    """Whether the branches have the names of the trained models."""
    return tuple(own_name(branch.name) for branch in branches[:2]) == BRANCHES[:2]


def looks_trained(branches: tuple[Branch, ...]) -> bool:
    """Whether one of the branches copies neighbours, as no other network's convolutions do."""
    return any(
        _answers_neighbours(branch.conv)
        and distance_from_shift(branch.conv.weight.cpu(), branch.conv.kernel_size[0])
        < _NEAR_A_SHIFT
        for branch in branches
    )


def roles(branches: tuple[Branch, ...]) -> Iterator[tuple[Branch, Branch, Branch]]:
    """Which branch is added to both sides, which to the keys and which to the values."""
    if len(branches) == 2:
        yield branches[0], branches[1], branches[1]
    elif len(branches) == 3:
        yield from permutations(branches, 3)
        for first, second in ((0, 1), (0, 2), (1, 2)):
            yield branches[first], branches[second], branches[second]


def projections_of(layer: nn.Module, head_dim: int) -> list[Projections]:
    """Every pair of projections in a layer that fits heads of so many features."""
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
        if (own_name(each.qkv.name), own_name(each.proj.name)) == ("qkv", "proj")
    ]
    return named or fitting


def others_of(layer: nn.Module) -> list[str]:
    """Learned tensors in layers that no slide attention has, such as normalisations."""
    return [
        f"{name}.{own}" if name else own
        for name, module in layer.named_modules()
        if name and not _is_known(module)
        for own, _ in module.named_parameters(recurse=False)
    ]


def tables_of(layer: nn.Module, heads: int, offsets: int) -> Iterator[Tensor | None]:
    """Tables of position biases as (head, offset); None for none comes last."""
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


def own_name(name: str) -> str:
    """The last part of a module's name."""
    return name.rpartition(".")[2]


def _answers_neighbours(conv: nn.Conv2d) -> bool:
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
