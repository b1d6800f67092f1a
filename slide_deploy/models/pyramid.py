"""What both versions of PVT share: settings, patches, attention to a reduced map, blocks."""

from dataclasses import dataclass

from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.models.parts import as_map, as_tokens, attend
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

    def hidden(self, stage: int) -> int:
        """Hidden width of the MLPs of a stage."""
        # The small addition keeps 2073 / 768 * 768 from being rounded down to 2072.
        return int(self.dim(stage) * self.mlp_ratios[stage] + 1e-6)


class PyramidPatchEmbed(nn.Module):
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


def reduced_attention(config: PyramidConfig, stage: int) -> ReducedAttention:
    """The host's own attention of the blocks of a stage."""
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
        """Keep the shape (batch, positions, C)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))
