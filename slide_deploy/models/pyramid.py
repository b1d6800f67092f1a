"""Settings, patch embedding, reduced attention and blocks that PVT and PVTv2 have in common."""

from dataclasses import dataclass

from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.models.parts import as_nchw, as_tokens, attend, hidden_width
from slide_deploy.models.staged import StagedConfig

# Epsilon of normalisations in blocks and before the classifier, then of all others.
BLOCK_EPS = 1e-6
PATCH_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class PyramidConfig(StagedConfig):
    """The settings that PVT and PVTv2 have in common; see ``StagedConfig``.

    Args:
        embed_dims: channels of each stage.
        mlp_ratios: ratio of the MLPs' hidden width to their input width, for each stage.
        sr_ratios: factor by which the keys' feature map is reduced along each side, for each stage.

    Raises:
        InputError: if the settings are inconsistent.
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
                f"{self.sr_ratios} must have one number for each of the {len(self.depths)} stages."
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
                f"Stage {stage} has a feature map of {height}x{width}, which is too small to be "
                f"reduced {ratio} times: give a larger image."
            )

    def dim(self, stage: int) -> int:
        """See ``StagedConfig``."""
        return self.embed_dims[stage]

    def hidden(self, stage: int) -> int:
        """Hidden width of the MLPs of a stage."""
        return hidden_width(self.dim(stage), self.mlp_ratios[stage])


class PyramidPatchEmbed(nn.Module):
    """Patch embedding: a convolution and a normalisation."""

    def __init__(self, channels: int, dim: int, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, kernel, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(dim, eps=PATCH_EPS)

    def forward(self, nchw: Tensor) -> Tensor:
        """Embed: (batch, C, H, W) to (batch, h * w, dim)."""
        return self.norm(as_tokens(self.proj(nchw)))


class ReducedAttention(nn.Module):
    """Attention of all tokens to the tokens of a reduced feature map.

    Args:
        dim: number of channels.
        num_heads: number of heads.
        ratio: factor by which the keys' feature map is reduced along each side, by a convolution
            with this kernel size and stride. Remaining rows and columns are dropped.
        resolution: height and width of the feature map.
        bias: whether the projections of q, k and v have a bias.
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
        """Attend on tokens (batch, h * w, dim). The shape is kept."""
        k, v = self.kv(self.reduced(tokens)).chunk(2, dim=-1)
        return self.proj(attend(self.q(tokens), k, v, self.num_heads))

    def reduced(self, tokens: Tensor) -> Tensor:
        """Reduce the tokens for keys and values: (batch, h * w, dim) to (batch, keys, dim)."""
        if self.sr is None or self.norm is None:
            return tokens
        return self.norm(as_tokens(self.sr(as_nchw(tokens, self.resolution))))


def reduced_attention(config: PyramidConfig, stage: int) -> ReducedAttention:
    """Build the host's own attention for a block of a stage."""
    return ReducedAttention(
        config.dim(stage),
        config.num_heads[stage],
        config.sr_ratios[stage],
        config.resolution(stage),
        config.qkv_bias,
    )


class PyramidBlock(nn.Module):
    """x + attn(norm1(x)), then x + mlp(norm2(x)), on tokens (batch, positions, C)."""

    def __init__(self, dim: int, attention: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=BLOCK_EPS)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, eps=BLOCK_EPS)
        self.mlp = mlp

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the block on tokens (batch, positions, C). The shape is kept."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))
