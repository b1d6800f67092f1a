"""NAT: stages with neighbourhood attention, or slide attention.

State-dict names are those of the original code (Neighborhood Attention Transformer, arXiv
2204.07143). Slide stages hold slide attention under ``attn``, with the names of Slide-Swin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.models.host_network import HostNetwork
from slide_deploy.models.neighbourhood import NeighbourhoodAttention
from slide_deploy.models.parts import Level, Mlp, as_nchw, as_tokens, hidden_width, run_levels
from slide_deploy.models.staged import Slide, StagedConfig

# Epsilon of every normalisation.
EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class NatConfig(StagedConfig):
    """The settings of a NAT; see ``StagedConfig``.

    Args:
        embed_dim: channels of the first stage. They double from stage to stage.
        mlp_ratio: ratio of the MLPs' hidden width to their input width.
        kernel_size: side of the neighbourhood of the host's own attention, in positions.
        layer_scale: whether the residual branches have per-channel factors.
        feature_norms: stages whose feature map a backbone normalises, as in detectors.

    Raises:
        InputError: if the settings are inconsistent.
    """

    embed_dim: int = 64
    num_heads: tuple[int, ...] = (2, 4, 8, 16)
    mlp_ratio: float = 3.0
    kernel_size: int = 7
    layer_scale: bool = False
    slide: Slide = (0, 0, 0, 0)
    feature_norms: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.embed_dim < 2 or self.embed_dim % 2:
            raise InputError(
                f"The first stage has {self.embed_dim} channels and the convolution before it half "
                f"as many: their number must be even."
            )
        if not self.hidden(0) >= 1:
            raise InputError(
                f"An MLP ratio of {self.mlp_ratio} leaves no hidden channels: give a larger one."
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise InputError(
                f"A neighbourhood of {self.kernel_size} positions has no centre: it must be odd."
            )
        if any(not 0 <= stage < len(self.depths) for stage in self.feature_norms):
            raise InputError(
                f"feature_norms {self.feature_norms} must be stages from 0 to "
                f"{len(self.depths) - 1}."
            )
        super().__post_init__()

    def dim(self, stage: int) -> int:
        """See ``StagedConfig``."""
        return self.embed_dim * 2**stage

    def hidden(self, stage: int) -> int:
        """Hidden width of the MLPs of a stage."""
        return hidden_width(self.dim(stage), self.mlp_ratio)

    def side(self, pixels: int, stage: int) -> int:
        """See ``StagedConfig``. Each convolution of stride 2 rounds up."""
        return -(-pixels // 2 ** (stage + 2))


class Tokenizer(nn.Module):
    """Two convolutions of stride 2 and a normalisation."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(channels, dim // 2, 3, stride=2, padding=1),
            nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
        )
        self.norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, image: Tensor) -> Tensor:
        """Embed: (batch, channels, H, W) to (batch, h * w, dim)."""
        return self.norm(as_tokens(self.proj(image)))


class Downsampler(nn.Module):
    """Halves the feature map and doubles the channels: (batch, H * W, C) to (batch, h * w, 2C).

    Args:
        dim: channels of the input tokens.
        resolution: height and width of their feature map.
    """

    def __init__(self, dim: int, resolution: tuple[int, int]) -> None:
        super().__init__()
        self.resolution = resolution
        self.reduction = nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(2 * dim, eps=EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Halve the feature map, with sides rounded up."""
        return self.norm(as_tokens(self.reduction(as_nchw(tokens, self.resolution))))


class NATBlock(nn.Module):
    """x + gamma1 * attn(norm1(x)), then x + gamma2 * mlp(norm2(x)), on (batch, positions, C).

    The factors exist only with layer scale.
    """

    def __init__(self, config: NatConfig, stage: int, block: int, folded: bool) -> None:
        super().__init__()
        dim = config.dim(stage)
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = config.attention(
            stage,
            block,
            folded,
            lambda: NeighbourhoodAttention(
                dim,
                config.num_heads[stage],
                config.kernel_size,
                config.resolution(stage),
                config.qkv_bias,
            ),
        )
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, config.hidden(stage))
        self.gamma1 = nn.Parameter(torch.ones(dim)) if config.layer_scale else None
        self.gamma2 = nn.Parameter(torch.ones(dim)) if config.layer_scale else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the block on tokens (batch, positions, C). The shape is kept."""
        attended = self.attn(self.norm1(tokens))
        tokens = tokens + (attended if self.gamma1 is None else self.gamma1 * attended)
        hidden = self.mlp(self.norm2(tokens))
        return tokens + (hidden if self.gamma2 is None else self.gamma2 * hidden)


class Nat(HostNetwork):
    """The classifier or the backbone; see ``HostNetwork``."""

    def __init__(self, config: NatConfig, folded: bool = False, features: bool = False) -> None:
        super().__init__(config, features)
        self.patch_embed = Tokenizer(config.in_channels, config.embed_dim)
        last = len(config.depths) - 1
        self.levels = nn.ModuleList(
            Level(
                [NATBlock(config, stage, block, folded) for block in range(depth)],
                Downsampler(config.dim(stage), config.resolution(stage)) if stage < last else None,
            )
            for stage, depth in enumerate(config.depths)
        )
        self.add_ends(EPS)

    def stages(self, image: Tensor) -> list[Tensor]:
        """See ``HostNetwork``."""
        return run_levels(self.levels, self.patch_embed(image))
