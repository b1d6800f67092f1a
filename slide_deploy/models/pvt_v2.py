"""PVTv2: PVT with overlapping patches and a depthwise convolution in every MLP.

State-dict names are those of the original code (PVT v2, arXiv 2106.13797). Slide stages hold slide
attention under ``attn``, with the names of Slide-Swin. There is no class token and no position
table.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.models.host_network import HostNetwork
from slide_deploy.models.parts import as_nchw, as_tokens
from slide_deploy.models.pooling import GridPool
from slide_deploy.models.pyramid import (
    BLOCK_EPS,
    PATCH_EPS,
    PyramidBlock,
    PyramidConfig,
    PyramidPatchEmbed,
    ReducedAttention,
    reduced_attention,
)

# Side of the pooled feature map that the linear version attends to.
POOLED_SIDE = 7


@dataclass(frozen=True, kw_only=True)
class PvtV2Config(PyramidConfig):
    """The settings of a PVTv2; see ``PyramidConfig``.

    Args:
        li: whether it is the linear version. Its attention reads a feature map pooled to 7x7 in
            every stage instead of one reduced by ``sr_ratios``. Every MLP, also in slide blocks,
            has a ReLU before its depthwise convolution.
    """

    li: bool = False

    def side(self, pixels: int, stage: int) -> int:
        """See ``StagedConfig``. Patches overlap, so sides are rounded up."""
        return -(-pixels // 2 ** (stage + 2))

    def _check_reduction(self, stage: int) -> None:
        if not self.li:
            super()._check_reduction(stage)


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution applied to tokens: a linear layer with weights (C, C, 1, 1)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Project: (batch, positions, C) to the same shape."""
        return functional.linear(tokens, self.weight.flatten(1), self.bias)


class PooledAttention(ReducedAttention):
    """Attention of all tokens to a feature map pooled to 7x7, in the linear version."""

    sr: PointwiseConv
    norm: nn.LayerNorm

    def __init__(self, dim: int, num_heads: int, resolution: tuple[int, int], bias: bool) -> None:
        super().__init__(dim, num_heads, 1, resolution, bias)
        self.pool = GridPool(resolution, POOLED_SIDE)
        self.sr = PointwiseConv(dim, dim, 1)
        self.norm = nn.LayerNorm(dim, eps=PATCH_EPS)
        self.act = nn.GELU()

    def reduced(self, tokens: Tensor) -> Tensor:
        """See ``ReducedAttention``: (batch, h * w, dim) to (batch, 49, dim)."""
        return self.act(self.norm(self.sr(self.pool(tokens))))


class DepthwiseConv(nn.Module):
    """A 3x3 depthwise convolution on tokens (batch, h * w, C)."""

    def __init__(self, dim: int, resolution: tuple[int, int]) -> None:
        super().__init__()
        self.resolution = resolution
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Convolve tokens (batch, h * w, C). The shape is kept."""
        return as_tokens(self.dwconv(as_nchw(tokens, self.resolution)))


class ConvMlp(nn.Module):
    """Two projections with an optional ReLU, a depthwise convolution and the exact GELU between."""

    def __init__(self, dim: int, hidden: int, resolution: tuple[int, int], relu: bool) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.dwconv = DepthwiseConv(hidden, resolution)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (batch, h * w, dim). The shape is kept."""
        return self.fc2(self.act(self.dwconv(self.relu(self.fc1(tokens)))))


def _block(config: PvtV2Config, stage: int, block: int, folded: bool) -> PyramidBlock:
    dim, resolution = config.dim(stage), config.resolution(stage)

    def host_attention() -> ReducedAttention:
        if config.li:
            return PooledAttention(dim, config.num_heads[stage], resolution, config.qkv_bias)
        return reduced_attention(config, stage)

    attention = config.attention(stage, block, folded, host_attention)
    return PyramidBlock(dim, attention, ConvMlp(dim, config.hidden(stage), resolution, config.li))


class PvtV2(HostNetwork):
    """The classifier or the backbone; see ``HostNetwork``."""

    def __init__(self, config: PvtV2Config, folded: bool = False, features: bool = False) -> None:
        super().__init__(config, features)
        channels = config.in_channels
        for stage, depth in enumerate(config.depths):
            dim = config.dim(stage)
            kernel, stride, padding = (3, 2, 1) if stage else (7, 4, 3)
            patches = PyramidPatchEmbed(channels, dim, kernel, stride, padding)
            blocks = nn.ModuleList(_block(config, stage, each, folded) for each in range(depth))
            self.add_module(f"patch_embed{stage + 1}", patches)
            self.add_module(f"block{stage + 1}", blocks)
            self.add_module(f"norm{stage + 1}", nn.LayerNorm(dim, eps=BLOCK_EPS))
            channels = dim
        if not features:
            self.head = nn.Linear(channels, config.num_classes)

    def stages(self, image: Tensor) -> list[Tensor]:
        """See ``HostNetwork``. The tokens are normalised, also for the next stage."""
        x = image
        outputs: list[Tensor] = []
        for stage in range(len(self.config.depths)):
            if stage:
                x = self.feature_map(stage - 1, outputs[-1])
            tokens = self.get_submodule(f"patch_embed{stage + 1}")(x)
            for block in self.get_submodule(f"block{stage + 1}").children():
                tokens = block(tokens)
            outputs.append(self.get_submodule(f"norm{stage + 1}")(tokens))
        return outputs

    def feature_map(self, stage: int, tokens: Tensor) -> Tensor:
        """See ``HostNetwork``. The tokens of every stage are normalised already."""
        return as_nchw(tokens, self.config.resolution(stage))

    def logits(self, tokens: Tensor) -> Tensor:
        """See ``HostNetwork``. The mean of the tokens is classified."""
        return self.head(tokens.mean(dim=1))
