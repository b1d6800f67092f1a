"""Every operator pattern that the exporters write, as one model of many small parts.

A part is a piece of a Slide-Swin as it is trained: an attention, a block, a merging layer, a head.
All parts of a model take tokens of one map, whose sizes coincide with each other and with heads,
features, windows and offsets. Their answers stand side by side, so that one file tells about many.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from slide_deploy.models.slide_attention import SlideAttention, SlideAttentionConfig
from slide_deploy.models.slide_swin import (
    Mlp,
    PatchMerging,
    SlideSwinConfig,
    SwinBlock,
    SwinPatchEmbed,
)
from slide_deploy.models.window_attention import merge_windows, partition_windows, roll_maps
from tests.support import randomise


@dataclass(frozen=True)
class Map:
    """Height, width and channels of the tokens that all parts of a model take."""

    height: int
    width: int
    channels: int
    kernel: int = 3

    @property
    def positions(self) -> int:
        return self.height * self.width

    @property
    def sizes(self) -> set[int]:
        """What a number of heads or of features can coincide with."""
        return {self.height, self.width, self.positions, self.channels, self.kernel**2}

    def __str__(self) -> str:
        return f"{self.height}x{self.width}x{self.channels}"


class Parts(nn.Module):
    """Parts side by side: tokens (batch, positions, channels) to (batch, all their answers)."""

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([part(image).flatten(1) for part in self.parts.values()], dim=1)


def all_parts(map: Map) -> Parts:
    """Everything that fits on a map."""
    return trained({**slide_parts(map), **window_parts(map), **other_parts(map)})


def trained(parts: dict[str, nn.Module]) -> Parts:
    """Parts with random weights."""
    model = Parts(parts)
    randomise(model)
    return model


def slide_parts(map: Map) -> dict[str, nn.Module]:
    """Slide attentions of every number of heads that coincides, and the variants of the layer."""
    variants: dict[str, dict[str, Any]] = {
        f"slide heads {heads}": {"num_heads": heads} for heads in coinciding_heads(map)
    }
    variants["slide shared qkv"] = {"num_heads": 1, "share_qkv": True}
    variants["slide without biases"] = {"num_heads": 1, "qkv_bias": False, "rpb": False}
    if map.channels % 2 == 0:
        variants["slide reduced"] = {"num_heads": map.channels // 2, "dim_reduction": 2}
    return {
        name: SlideAttention(
            SlideAttentionConfig(map.channels, kernel_size=map.kernel, **settings),
            "tokens",
            (map.height, map.width),
        )
        for name, settings in variants.items()
    }


def window_parts(map: Map) -> dict[str, nn.Module]:
    """Blocks of every window that tiles the map, plain and shifted."""
    parts: dict[str, nn.Module] = {}
    sides = divisors(math.gcd(map.height, map.width))
    for window in sides[1:] or sides:  # windows of one position only where there are no others
        # As many heads or features as a window has positions, or as there are windows.
        also = {window**2, map.positions // window**2}
        for heads in coinciding_heads(map, also):
            config = SlideSwinConfig(
                image_size=(4 * map.height, 4 * map.width),
                embed_dim=map.channels,
                depths=(2,),
                num_heads=(heads,),
                window_size=window,
                num_slide_stages=0,
                mlp_ratio=1.0,
            )
            for block in (0, 1) if config.shift(0, 1) else (0,):
                name = f"window {window} shift {config.shift(0, block)} heads {heads}"
                parts[name] = SwinBlock(config, 0, block, folded=False)
    return parts


def other_parts(map: Map) -> dict[str, nn.Module]:
    """What stands around the attentions."""
    parts: dict[str, nn.Module] = {
        "norm and mlp": nn.Sequential(nn.LayerNorm(map.channels), Mlp(map.channels, map.positions)),
        "head to positions": Head(map.channels, map.positions),
        "head to channels": Head(map.channels, map.channels),
        "head to one class": Head(map.channels, 1),
    }
    config = SlideSwinConfig(
        image_size=(4 * map.height, 4 * map.width),
        embed_dim=map.channels,
        depths=(1,),
        num_heads=(1,),
        num_slide_stages=1,
        kernel_size=map.kernel,
    )
    parts["slide block"] = SwinBlock(config, 0, 0, folded=False)
    for side in divisors(math.gcd(map.height, map.width)):
        parts[f"embed patches of {side}"] = Embed(map, side)
        for shift in sorted({0, side // 2}):
            parts[f"roll by {shift}, cut by {side}"] = Rolled(map, side, shift)
    if map.height % 2 == 0 and map.width % 2 == 0:
        parts["merge patches"] = PatchMerging(map.channels, (map.height, map.width))
    return parts


class Rolled(nn.Module):
    """Roll, cut, weigh each position of a window, merge, roll back: an exchange would show."""

    def __init__(self, map: Map, window: int, shift: int) -> None:
        super().__init__()
        self.map, self.window, self.shift = map, window, shift
        self.weights = nn.Parameter(torch.zeros(window * window, map.channels))

    def forward(self, tokens: Tensor) -> Tensor:
        map = self.map
        maps = tokens.reshape(-1, map.height, map.width, map.channels)
        windows = partition_windows(roll_maps(maps, self.shift), self.window) * self.weights
        merged = merge_windows(windows, self.window, (map.height, map.width))
        return roll_maps(merged, -self.shift).flatten(1, 2)


class Embed(nn.Module):
    """The patch embedding, on tokens that are read as an image."""

    def __init__(self, map: Map, patch: int) -> None:
        super().__init__()
        self.image = (-1, map.channels, map.height, map.width)
        self.embed = SwinPatchEmbed(
            SlideSwinConfig(
                image_size=(map.height, map.width),
                patch_size=patch,
                in_channels=map.channels,
                embed_dim=map.positions // patch**2,  # as many channels as tokens
                depths=(1,),
                num_heads=(1,),
            )
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return self.embed(tokens.reshape(self.image))


class Head(nn.Module):
    """Normalise, average over the tokens, classify."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(tokens).mean(dim=1))


def coinciding_heads(map: Map, also: Collection[int] = ()) -> list[int]:
    """Numbers of heads that are a size of the map, or leave as many features as one."""
    sizes = map.sizes.union(also)
    return [n for n in divisors(map.channels) if n in sizes or map.channels // n in sizes]


def divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
