"""Slide stages on maps, from the image to the last patch merging behind slide attention.

ONNX Runtime keeps maps between convolutions in blocks of channels. The way from tokens into that
layout and out of it is several passes over a map, and so are biases and the way around each layer,
which a convolution adds for nothing. So all of a slide stage is written in convolutions:
projections of 1x1, patch merging of 2x2 in steps of 2, and normalisations, whose weights are in
the projections behind them, as

    y = x - mean(x),     y / sqrt(mean(y^2) + epsilon)

A mean is a convolution to one channel, and one from there returns to all channels. In two passes,
as the mean may be far larger than what is left without it. What rounding leaves of it, all channels
alike, the projections do not see: their weights sum to zero over the inputs.

What stands in the place of a layer takes and gives maps, (batch, C, H, W), where that took and gave
tokens. The model that holds them passes on what it gets.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.choice import FORMS, Lowering
from slide_deploy.lowerings.lowered import lowered_attention
from slide_deploy.lowerings.normalised import fold_affine
from slide_deploy.lowerings.projection import constant, constant_conv
from slide_deploy.models.backbone import SlideSwinBackbone
from slide_deploy.models.slide_attention import FoldedSlideAttention
from slide_deploy.models.slide_swin import (
    Block,
    PatchEmbed,
    PatchMerging,
    SlideSwin,
    SlideSwinTrunk,
    Stage,
)
from slide_deploy.surgery import replace_module


def count_map_stages(model: nn.Module, lowerings: Mapping[str, Lowering]) -> int:
    """How many stages can be maps throughout: the first ones whose attentions are.

    Args:
        model: folded.
        lowerings: of its slide attentions.
    """
    if not isinstance(model, SlideSwinTrunk):
        return 0
    for index, stage in enumerate(model.layers):
        assert isinstance(stage, Stage)
        for block in range(len(stage.blocks)):
            lowering = lowerings.get(f"layers.{index}.blocks.{block}.attn")
            if lowering is None or not FORMS[lowering.form].on_maps:
                return index
    return len(model.layers)


@torch.no_grad()
def write_map_stages(model: SlideSwinTrunk, lowerings: Mapping[str, Lowering], count: int) -> None:
    """Write the first stages of a folded model on maps; what follows gets tokens.

    Args:
        model: changed in place.
        lowerings: of its slide attentions.
        count: of stages, at least 1.

    Raises:
        InputError: if a form cannot write its attention.
    """
    config = model.config
    replace_module(model, "patch_embed", MapPatchEmbed(model.patch_embed))
    if model.absolute_pos_embed is not None:
        embedding = model.absolute_pos_embed.transpose(1, 2).unflatten(2, config.resolution(0))
        model.absolute_pos_embed = constant(embedding)
    for index in range(count):
        stage = model.layers[index]
        assert isinstance(stage, Stage)
        for place, block in enumerate(stage.blocks):
            assert isinstance(block, Block)
            name = f"layers.{index}.blocks.{place}.attn"
            stage.blocks[place] = MapBlock(block, name, lowerings[name])
        if stage.downsample is not None:
            replace_module(stage, "downsample", MapPatchMerging(stage.downsample))
        if isinstance(model, SlideSwinBackbone) and index in config.feature_norms:
            name = f"norm{index}"
            replace_module(model, name, MapNorm(model.get_submodule(name)))
    last = model.layers[count - 1]
    assert isinstance(last, Stage)
    if last.downsample is not None:
        replace_module(last, "downsample", nn.Sequential(last.downsample, Tokens()))
    elif isinstance(model, SlideSwin):
        last.blocks.append(Tokens())


class Centre(nn.Module):
    """Takes the mean over the channels off every position.

    Args:
        channels: how many.
        dtype: of the maps.
    """

    def __init__(self, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.mean = constant_conv(torch.full((1, channels, 1, 1), 1 / channels, dtype=dtype))
        self.off = constant_conv(-torch.ones(channels, 1, 1, 1, dtype=dtype))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """What is left, and the mean (batch, 1, H, W)."""
        mean: Tensor = self.mean(maps)
        return maps + self.off(mean), mean


class Scale(nn.Module):
    """1 / sqrt(mean(y^2) + epsilon), of single positions or of cells.

    Args:
        norm: the normalisation, of the channels of a cell.
        gain: a factor for each channel that is multiplied.
        shift: what is added to each channel behind; None for nothing.
        cell: side of the cells that are normalised together.
    """

    def __init__(
        self, norm: nn.LayerNorm, gain: Tensor, shift: Tensor | None = None, cell: int = 1
    ) -> None:
        super().__init__()
        (numbers,) = norm.normalized_shape
        mean = torch.full((1, numbers // cell**2, cell, cell), 1 / numbers, dtype=gain.dtype)
        self.power = constant_conv(mean, torch.tensor([norm.eps], dtype=gain.dtype))
        self.power.stride = (cell, cell)
        self.gain = constant_conv(gain[:, None, None, None])
        # No convolution of a group a channel, which would look like one of slide attention: of one
        # that answers its bias, the sum with a map is a single pass as well.
        zeros = torch.zeros_like(gain)[:, None, None, None]
        self.shift = None if shift is None else constant_conv(zeros, shift)

    def forward(self, maps: Tensor, squares: Tensor, besides: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            maps: (batch, channels, H / cell, W / cell), what is multiplied.
            squares: (batch, C, H, W), those of the centred maps.
            besides: (batch, 1, H / cell, W / cell), what their mean lacks.
        """
        variance = self.power(squares)
        if besides is not None:
            variance = variance + besides
        quotient = variance.sqrt().reciprocal()
        out: Tensor = maps * self.gain(quotient)
        return out if self.shift is None else out + self.shift(quotient)


class MapPatchEmbed(nn.Module):
    """A patch embedding. The mean of each patch over its channels is taken off by the weights.

    Args:
        trained: the layer to write.
    """

    @torch.no_grad()
    def __init__(self, trained: PatchEmbed) -> None:
        super().__init__()
        weight, bias, norm = trained.proj.weight, trained.proj.bias, trained.norm
        assert bias is not None
        self.scale = None
        if norm is not None:
            weight, bias = _centred(weight, 0), _centred(bias, 0)
            self.scale = Scale(norm, norm.weight, norm.bias)
        self.proj = constant_conv(weight, bias)
        self.proj.stride = trained.proj.stride

    def forward(self, image: Tensor) -> Tensor:
        """Embed: (batch, channels, H, W) to (batch, embed_dim, H / patch, W / patch)."""
        maps: Tensor = self.proj(image)
        return maps if self.scale is None else self.scale(maps, maps * maps)


class Normalisation(nn.Module):
    """A normalisation of every position, without weight and bias."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        (channels,) = norm.normalized_shape
        self.centre = Centre(channels, norm.weight.dtype)
        self.scale = Scale(norm, torch.ones_like(norm.weight))

    def forward(self, maps: Tensor) -> Tensor:
        """Keep the shape (batch, C, H, W)."""
        centred, _ = self.centre(maps)
        out: Tensor = self.scale(centred, centred * centred)
        return out


class MapBlock(nn.Module):
    """A block of slide attention.

    Args:
        block: the layer to write.
        name: of its attention.
        lowering: of its attention, in a form on maps.

    Raises:
        InputError: if the form cannot write this attention.
    """

    @torch.no_grad()
    def __init__(self, block: Block, name: str, lowering: Lowering) -> None:
        super().__init__()
        assert isinstance(block.attn, FoldedSlideAttention)
        attention, self.mlp = copy.deepcopy(block.attn), copy.deepcopy(block.mlp)
        attention.layout = "nchw"
        _, attention.qkv = fold_affine(block.norm1, attention.qkv)
        _, fc1 = fold_affine(block.norm2, self.mlp.fc1)
        for behind in (attention.qkv, fc1):
            behind.weight.copy_(_centred(behind.weight, 1))
        for place, linear in (("fc1", fc1), ("fc2", self.mlp.fc2)):
            pointwise = constant_conv(linear.weight[:, :, None, None], linear.bias)
            replace_module(self.mlp, place, pointwise)
        self.norm1, self.norm2 = Normalisation(block.norm1), Normalisation(block.norm2)
        self.attn = lowered_attention(name, attention, lowering)

    def forward(self, maps: Tensor) -> Tensor:
        """Keep the shape (batch, C, H, W)."""
        maps = maps + self.attn(self.norm1(maps))[0]
        out: Tensor = maps + self.mlp(self.norm2(maps))
        return out


class MapPatchMerging(nn.Module):
    """A patch merging.

    The four positions p of a cell are normalised together. With y = x - m, m the mean of each
    position, and d what it differs by from that of the cell,

        variance = mean(y^2) + mean(d^2)
        W (x - mean of the cell) = W y + sum_p d[p] sum_c W[p, c]

    Args:
        trained: the layer to write.
    """

    @torch.no_grad()
    def __init__(self, trained: PatchMerging) -> None:
        super().__init__()
        _, reduction = fold_affine(trained.norm, trained.reduction)
        # (column, row, C) to (C, row, column)
        weight = _centred(reduction.weight, 1).unflatten(1, (2, 2, -1)).transpose(1, 3)
        outputs, channels = weight.shape[:2]
        self.centre = Centre(channels, weight.dtype)
        self.reduction = constant_conv(weight)
        # (position, 1, row, column)
        differences = torch.eye(4, dtype=weight.dtype) - 1 / 4
        self.differences = constant_conv(differences.reshape(4, 1, 2, 2))
        for conv in (self.reduction, self.differences):
            conv.stride = (2, 2)
        self.mean = constant_conv(torch.full((1, 4, 1, 1), 1 / 4, dtype=weight.dtype))
        sums = weight.double().sum(dim=1).to(weight.dtype)
        self.sums = constant_conv(sums.reshape(outputs, 4, 1, 1))
        ones = torch.ones_like(reduction.bias)
        self.scale = Scale(trained.norm, ones, reduction.bias, cell=2)

    def forward(self, maps: Tensor) -> Tensor:
        """Merge: (batch, C, H, W) to (batch, 2C, H / 2, W / 2)."""
        centred, mean = self.centre(maps)
        differences = self.differences(mean)
        merged = self.reduction(centred) + self.sums(differences)
        besides = self.mean(differences * differences)
        out: Tensor = self.scale(merged, centred * centred, besides)
        return out


class MapNorm(nn.Module):
    """The normalisation of a map that is an answer, as one operator: it is the last of its branch.

    Args:
        norm: of tokens.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each position; the shape is kept."""
        out: Tensor = self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Tokens(nn.Module):
    """Maps to tokens: (batch, C, H, W) to (batch, H*W, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Row by row."""
        return maps.permute(0, 2, 3, 1).flatten(1, 2)


def _centred(weights: Tensor, dim: int) -> Tensor:
    """Weights, (outputs, inputs, ...), less their mean over the outputs or the inputs."""
    exact = weights.double()
    return (exact - exact.mean(dim, keepdim=True)).to(weights.dtype)
