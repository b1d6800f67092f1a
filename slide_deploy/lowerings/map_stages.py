"""Slide stages on maps, from the image to the last patch merging behind slide attention.

ONNX Runtime keeps maps between convolutions in blocks of channels. The way from tokens into that
layout and out of it is several passes over a map, and so are biases and the way around each layer,
which a convolution adds for nothing. So all of a slide stage is written in convolutions:
projections of 1x1, patch merging of 2x2 in steps of 2. A normalisation with weights g and b, and
the projection W behind it, are

    W (g (x - mean(x)) q + b) = (W g - its mean over the inputs) (x q) + W b
    q = 1 / sqrt(mean(x^2) + epsilon - mean(x)^2)

Both means are convolutions to one channel, and one with ones spreads q over all channels again.

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


class Quotient(nn.Module):
    """What a normalisation multiplies with, after its mean was taken off: q above.

    Args:
        norm: the normalisation, of the channels of a cell.
        spread: a factor for each channel that is multiplied.
        cell: side of the cells that are normalised together.
        centred: whether the mean of each cell is zero.
    """

    def __init__(
        self, norm: nn.LayerNorm, spread: Tensor, cell: int = 1, centred: bool = False
    ) -> None:
        super().__init__()
        (numbers,) = norm.normalized_shape
        self.epsilon = norm.eps
        # (1, C, side, side): the mean of a cell
        mean = torch.full((1, numbers // cell**2, cell, cell), 1 / numbers, dtype=spread.dtype)
        self.power = constant_conv(mean, torch.tensor([norm.eps], dtype=spread.dtype))
        self.mean = None if centred else constant_conv(mean)
        for conv in (self.power, self.mean):
            if conv is not None:
                conv.stride = (cell, cell)
        self.spread = constant_conv(spread[:, None, None, None])

    def forward(self, maps: Tensor) -> Tensor:
        """Of each cell: (batch, C, H, W) to (batch, channels, H / side, W / side)."""
        variance = self.power(maps * maps)
        if self.mean is not None:
            mean = self.mean(maps)
            # No less, whatever rounding leaves where the mean is far larger than the deviation.
            variance = (variance - mean * mean).clamp(min=self.epsilon)
        out: Tensor = self.spread(variance.sqrt().reciprocal())
        return out


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
        if norm is not None:
            weight, bias = _centred(weight, 0), _centred(bias, 0)
            self.quotient = Quotient(norm, norm.weight, centred=True)
            self.shift = _shift(norm.bias)
        self.proj = constant_conv(weight, bias)
        self.proj.stride = trained.proj.stride
        self.normalises = norm is not None

    def forward(self, image: Tensor) -> Tensor:
        """Embed: (batch, channels, H, W) to (batch, embed_dim, H / patch, W / patch)."""
        maps: Tensor = self.proj(image)
        return self.shift(maps * self.quotient(maps)) if self.normalises else maps


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
        attention = copy.deepcopy(block.attn)
        attention.layout = "nchw"
        _, attention.qkv = fold_affine(block.norm1, attention.qkv)
        attention.qkv.weight.copy_(_centred(attention.qkv.weight, 1))
        ones = torch.ones_like(block.norm1.weight)
        self.norm1, self.norm2 = Quotient(block.norm1, ones), Quotient(block.norm2, ones)
        self.attn = lowered_attention(name, attention, lowering)
        _, fc1 = fold_affine(block.norm2, block.mlp.fc1)
        fc2 = block.mlp.fc2
        self.mlp = copy.deepcopy(block.mlp)
        pointwise = constant_conv(_centred(fc1.weight, 1)[:, :, None, None], fc1.bias)
        replace_module(self.mlp, "fc1", pointwise)
        replace_module(self.mlp, "fc2", constant_conv(fc2.weight[:, :, None, None], fc2.bias))

    def forward(self, maps: Tensor) -> Tensor:
        """Keep the shape (batch, C, H, W)."""
        maps = maps + self.attn(maps * self.norm1(maps))[0]
        out: Tensor = maps + self.mlp(maps * self.norm2(maps))
        return out


class MapPatchMerging(nn.Module):
    """A patch merging.

    Args:
        trained: the layer to write.
    """

    @torch.no_grad()
    def __init__(self, trained: PatchMerging) -> None:
        super().__init__()
        _, reduction = fold_affine(trained.norm, trained.reduction)
        # (column, row, C) to (C, row, column)
        weight = _centred(reduction.weight, 1).unflatten(1, (2, 2, -1)).transpose(1, 3)
        self.reduction = constant_conv(weight)
        self.reduction.stride = (2, 2)
        self.norm = Quotient(trained.norm, torch.ones_like(reduction.bias), cell=2)
        self.shift = _shift(reduction.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Merge: (batch, C, H, W) to (batch, 2C, H / 2, W / 2)."""
        out: Tensor = self.shift(self.reduction(maps) * self.norm(maps))
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


def _shift(bias: Tensor) -> nn.Conv2d:
    """Adds a number to each channel without leaving the layout of convolutions."""
    return constant_conv(torch.ones_like(bias)[:, None, None, None], bias, groups=len(bias))


def _centred(weights: Tensor, dim: int) -> Tensor:
    """The weights, their mean along an axis taken off."""
    exact = weights.double()
    return (exact - exact.mean(dim, keepdim=True)).to(weights.dtype)
