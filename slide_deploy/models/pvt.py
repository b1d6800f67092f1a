"""PVT: a pyramid of stages whose attention reads a reduced map; plain or with slide stages.

State-dict names are those of the host (Pyramid Vision Transformer, arXiv 2102.12122); slide stages
hold slide attention under ``attn``, with the names of Slide-Swin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.errors import InputError
from slide_deploy.models.host_network import HostNetwork
from slide_deploy.models.parts import Mlp, as_map, as_tokens, attend
from slide_deploy.models.staged import StagedConfig

# Of the normalisations in blocks and before the classifier. The others have 1e-5.
BLOCK_EPS = 1e-6
PATCH_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class PyramidConfig(StagedConfig):
    """What the settings of both versions of PVT have in common.

    Args:
        embed_dims: channels of each stage.
        mlp_ratios: hidden width of the MLP over its input's, of each stage.
        sr_ratios: by how much the keys' map of each stage is reduced along each side.

    Raises:
        InputError: if the numbers do not fit together.
    """

    embed_dims: tuple[int, ...] = (64, 128, 320, 512)
    num_heads: tuple[int, ...] = (1, 2, 5, 8)
    mlp_ratios: tuple[float, ...] = (8, 8, 4, 4)
    sr_ratios: tuple[int, ...] = (8, 4, 2, 1)
    slide: tuple[int | tuple[int, ...], ...] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        widths = (self.embed_dims, self.mlp_ratios, self.sr_ratios)
        if any(len(each) != len(self.depths) for each in widths):
            raise InputError(
                f"Widths {self.embed_dims}, MLP ratios {self.mlp_ratios} and reductions "
                f"{self.sr_ratios} do not name the {len(self.depths)} stages of the depths."
            )
        if min(*self.embed_dims, *self.mlp_ratios, *self.sr_ratios) < 1:
            raise InputError("Widths, MLP ratios and reductions must be at least 1.")
        super().__post_init__()
        for stage in range(len(self.depths)):
            self._check_reduction(stage)

    def _check_reduction(self, stage: int) -> None:
        (height, width), ratio = self.resolution(stage), self.sr_ratios[stage]
        slides = all(self.slide_kernel(stage, block) for block in range(self.depths[stage]))
        if min(height, width) < ratio and not slides:
            raise InputError(
                f"Stage {stage} has a map of {height}x{width}, which is too small to be reduced "
                f"{ratio} times: give a larger image."
            )

    def dim(self, stage: int) -> int:
        """See ``StagedConfig``."""
        return self.embed_dims[stage]


@dataclass(frozen=True, kw_only=True)
class PvtConfig(PyramidConfig):
    """What fixes the shapes and the arithmetic of a PVT; see ``StagedConfig``.

    Raises:
        InputError: if the numbers do not fit together, or if the last stage slides.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        last = len(self.depths) - 1
        if any(self.slide_kernel(last, block) for block in range(self.depths[last])):
            raise InputError(
                f"Stage {last} of a PVT has a class token, which is on no map: slide attention "
                f"cannot stand there."
            )
        if self.sr_ratios[last] != 1:
            raise InputError(
                f"Stage {last} of a PVT has a class token, so that its map cannot be reduced "
                f"{self.sr_ratios[last]} times."
            )

    def side(self, pixels: int, stage: int) -> int:
        """See ``StagedConfig``. Patches do not overlap; a remainder of pixels is dropped."""
        return pixels // 2 ** (stage + 2)

    def positions(self, stage: int) -> int:
        """Entries of the position table of a stage; the class token has one in the last."""
        height, width = self.resolution(stage)
        return height * width + (stage == len(self.depths) - 1)


class PatchEmbed(nn.Module):
    """A convolution and a normalisation: a map (batch, C, H, W) to tokens (batch, h * w, dim)."""

    def __init__(self, channels: int, dim: int, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(dim, eps=PATCH_EPS)

    def forward(self, maps: Tensor) -> Tensor:
        """Embed: (batch, C, H, W) to (batch, h * w, dim)."""
        return self.norm(as_tokens(self.proj(maps)))


class ReducedAttention(nn.Module):
    """Attention of all tokens to the tokens of a reduced map.

    Args:
        dim: channels.
        num_heads: heads.
        ratio: the map of the keys is reduced so many times along each side, by a convolution whose
            kernel is its stride; a remainder of rows or columns is dropped.
        resolution: height and width of the map.
        bias: whether the projections of q, k and v carry a bias.
    """

    def __init__(
        self, dim: int, num_heads: int, ratio: int, resolution: tuple[int, int], bias: bool
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.resolution = resolution
        self.q = nn.Linear(dim, dim, bias=bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=bias)
        self.sr = nn.Conv2d(dim, dim, ratio, stride=ratio) if ratio > 1 else None
        self.norm = nn.LayerNorm(dim, eps=PATCH_EPS) if ratio > 1 else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Keep the shape (batch, h * w, dim)."""
        k, v = self.kv(self.reduced(tokens)).chunk(2, dim=-1)
        return self.proj(attend(self.q(tokens), k, v, self.num_heads))

    def reduced(self, tokens: Tensor) -> Tensor:
        """What the keys and values are made of: (batch, h * w, dim) to (batch, keys, dim)."""
        if self.sr is None or self.norm is None:
            return tokens
        return self.norm(as_tokens(self.sr(as_map(tokens, self.resolution))))


class Block(nn.Module):
    """x + attn(norm1(x)), then x + mlp(norm2(x)), on tokens (batch, positions, C)."""

    def __init__(self, config: PvtConfig, stage: int, block: int, folded: bool) -> None:
        super().__init__()
        dim = config.dim(stage)
        self.norm1 = nn.LayerNorm(dim, eps=BLOCK_EPS)
        self.attn = config.attention(
            stage,
            block,
            folded,
            lambda: ReducedAttention(
                dim,
                config.num_heads[stage],
                config.sr_ratios[stage],
                config.resolution(stage),
                config.qkv_bias,
            ),
        )
        self.norm2 = nn.LayerNorm(dim, eps=BLOCK_EPS)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratios[stage]))

    def forward(self, tokens: Tensor) -> Tensor:
        """Keep the shape (batch, positions, C)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Pvt(HostNetwork):
    """The classifier or the backbone.

    Args:
        config: its settings.
        folded: build ``FoldedSlideAttention`` in place of the branched form.
        features: build the backbone, whose last stage has no class token.
    """

    def __init__(self, config: PvtConfig, folded: bool = False, features: bool = False) -> None:
        super().__init__(config, features)
        channels = config.in_channels
        for stage, depth in enumerate(config.depths):
            dim, patch = config.dim(stage), 2 if stage else 4
            blocks = nn.ModuleList(Block(config, stage, each, folded) for each in range(depth))
            table = torch.zeros(1, config.positions(stage), dim)
            self.add_module(f"patch_embed{stage + 1}", PatchEmbed(channels, dim, patch, patch))
            self.register_parameter(f"pos_embed{stage + 1}", nn.Parameter(table))
            self.add_module(f"block{stage + 1}", blocks)
            channels = dim
        if not features:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
            self.norm = nn.LayerNorm(channels, eps=BLOCK_EPS)
            self.head = nn.Linear(channels, config.num_classes)

    def stages(self, image: Tensor) -> list[Tensor]:
        """See ``HostNetwork``; in the last stage of a classifier the class token comes first."""
        maps = image
        outputs = []
        last = len(self.config.depths) - 1
        for stage in range(last + 1):
            tokens = self.get_submodule(f"patch_embed{stage + 1}")(maps)
            table: Tensor = self.get_parameter(f"pos_embed{stage + 1}")
            if stage == last:
                tokens, table = self._with_class_token(tokens, table)
            tokens = tokens + table
            for block in self.get_submodule(f"block{stage + 1}").children():
                tokens = block(tokens)
            outputs.append(tokens)
            if stage < last:
                maps = as_map(tokens, self.config.resolution(stage))
        return outputs

    def _with_class_token(self, tokens: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and their position table with the class token in front, or without it.

        The token is part of its row in the table, and a row of zeros stands in front of the tokens:
        so no file has to repeat it for every image of a batch.
        """
        first, others = table[:, :1], table[:, 1:]
        if self.features:
            return tokens, others
        table = torch.cat((self.cls_token + first, others), dim=1)
        return functional.pad(tokens, (0, 0, 1, 0)), table

    def logits(self, tokens: Tensor) -> Tensor:
        """See ``HostNetwork``: the class token alone tells."""
        return self.head(self.norm(tokens)[:, 0])
