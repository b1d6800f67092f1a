"""CSWin: attention in vertical and horizontal stripes of the feature map, or slide attention.

State-dict names are those of the original code (CSWin Transformer, arXiv 2107.00652). Slide stages
hold slide attention under ``attn``, with the names of Slide-Swin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.models.host_network import HostNetwork
from slide_deploy.models.parts import Mlp, as_nchw, as_tokens, hidden_width
from slide_deploy.models.staged import MAX_IMAGE_SIDE, StagedConfig
from slide_deploy.models.stripe_attention import StripeAttention

LAYER_NORM_EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class CswinConfig(StagedConfig):
    """The settings of a CSWin; see ``StagedConfig``.

    Args:
        embed_dim: channels of the first stage. They double from stage to stage.
        mlp_ratio: ratio of the MLPs' hidden width to their input width.
        stripes: width of the stripes of each stage, in positions. Blocks that attend to the whole
            map and slide blocks do not use it.
        whole_map: for each stage, whether its own attention is to the whole map, in one branch.
            Stripes have two branches.
        feature_norms: stages whose feature map a backbone normalises, as in detectors.

    Raises:
        InputError: if the settings are inconsistent.
    """

    depths: tuple[int, ...] = (1, 2, 21, 1)
    num_heads: tuple[int, ...] = (2, 4, 8, 16)
    slide: tuple[int | tuple[int, ...], ...] = (0, 0, 0, 0)
    embed_dim: int = 64
    mlp_ratio: float = 4.0
    stripes: tuple[int, ...] = (1, 2, 7, 7)
    whole_map: tuple[bool, ...] = (False, False, False, True)
    feature_norms: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        stages = len(self.depths)
        if len(self.stripes) != stages or len(self.whole_map) != stages:
            raise InputError(
                f"stripes {self.stripes} and whole_map {self.whole_map} must have one entry for "
                f"each of the {stages} stages."
            )
        if min(self.embed_dim, *self.stripes) < 1 or int(self.embed_dim * self.mlp_ratio) < 1:
            raise InputError("Widths, MLP ratios and stripes must be at least 1.")
        if not set(self.feature_norms) <= set(range(stages)):
            raise InputError(
                f"feature_norms {self.feature_norms} must be stages from 0 to {stages - 1}."
            )
        super().__post_init__()
        for stage in range(stages):
            self._check_branches(stage)

    def _check_branches(self, stage: int) -> None:
        if self.striped(stage) and (self.dim(stage) % 2 or self.num_heads[stage] % 2):
            raise InputError(
                f"Stage {stage} has {self.dim(stage)} channels and {self.num_heads[stage]} heads, "
                f"which cannot be divided into vertical and horizontal stripes: check the heads."
            )

    def dim(self, stage: int) -> int:
        """See ``StagedConfig``."""
        return self.embed_dim * 2**stage

    def side(self, pixels: int, stage: int) -> int:
        """See ``StagedConfig``."""
        patches = (pixels - 3) // 4 + 1  # kernel 7, stride 4, padding 2
        return -(-patches // 2**stage)  # convolutions of stride 2 round up

    def striped(self, stage: int) -> bool:
        """Whether blocks of a stage attend in stripes."""
        slides = all(self.slide_kernel(stage, block) for block in range(self.depths[stage]))
        return not slides and not self.whole_map[stage]

    def tiled(self, pixels: int) -> bool:
        """Whether stripes tile the feature maps along an image side of ``pixels``."""
        return not any(
            self.side(pixels, stage) % self.stripes[stage]
            for stage in range(len(self.depths))
            if self.striped(stage)
        )


class ConvEmbed(nn.Sequential):
    """Patch embedding. The layers are numbered as in the original code."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__(
            nn.Conv2d(channels, dim, 7, stride=4, padding=2),
            nn.Identity(),  # the original code has a layer without weights here
            nn.LayerNorm(dim, eps=LAYER_NORM_EPS),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Embed: (batch, channels, H, W) to (batch, h * w, dim)."""
        return self[2](as_tokens(self[0](image)))


class ConvMerging(nn.Module):
    """Halves the feature map of a stage and doubles its channels."""

    def __init__(self, config: CswinConfig, stage: int) -> None:
        super().__init__()
        self.resolution = config.resolution(stage)
        dim = config.dim(stage)
        self.conv = nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(2 * dim, eps=LAYER_NORM_EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Merge: (batch, h * w, C) to (batch, h/2 * w/2, 2C), sides rounded up."""
        return self.norm(as_tokens(self.conv(as_nchw(tokens, self.resolution))))


class CSWinBlock(nn.Module):
    """x + attend(norm1(x)), then x + mlp(norm2(x)), on tokens (batch, positions, C)."""

    def __init__(self, config: CswinConfig, stage: int) -> None:
        super().__init__()
        dim = config.dim(stage)
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, hidden_width(dim, config.mlp_ratio))

    def attend(self, tokens: Tensor) -> Tensor:
        """Attend on tokens (batch, positions, C). The shape is kept."""
        raise NotImplementedError

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the block on tokens (batch, positions, C). The shape is kept."""
        tokens = tokens + self.attend(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class SlideBlock(CSWinBlock):
    """A block with slide attention."""

    def __init__(self, config: CswinConfig, stage: int, block: int, folded: bool) -> None:
        super().__init__(config, stage)
        self.attn = config.slide_module(stage, block, folded)

    def attend(self, tokens: Tensor) -> Tensor:
        """See ``CSWinBlock``."""
        return self.attn(tokens)


class StripedBlock(CSWinBlock):
    """A block with stripe attention: half of the heads in vertical stripes, half in horizontal.

    If the stage attends to the whole map, all heads do so in one branch.
    """

    def __init__(self, config: CswinConfig, stage: int) -> None:
        super().__init__(config, stage)
        dim, size = config.dim(stage), config.resolution(stage)
        width, (height, across) = config.stripes[stage], size
        stripes = [size] if config.whole_map[stage] else [(height, width), (width, across)]
        share = len(stripes)
        self.qkv = nn.Linear(dim, 3 * dim, bias=config.qkv_bias)
        self.attns = nn.ModuleList(
            StripeAttention(dim // share, config.num_heads[stage] // share, size, stripe)
            for stripe in stripes
        )
        self.proj = nn.Linear(dim, dim)

    def attend(self, tokens: Tensor) -> Tensor:
        """See ``CSWinBlock``."""
        # (q|k|v, branch), each (batch, positions, C / branches)
        qkv = self.qkv(tokens).chunk(3 * len(self.attns), dim=-1)
        parts = [
            attention(*qkv[branch :: len(self.attns)])
            for branch, attention in enumerate(self.attns)
        ]
        return self.proj(torch.cat(parts, dim=-1))


class Cswin(HostNetwork):
    """The classifier or the backbone; see ``HostNetwork``."""

    def __init__(self, config: CswinConfig, folded: bool = False, features: bool = False) -> None:
        super().__init__(config, features)
        self.stage1_conv_embed = ConvEmbed(config.in_channels, config.embed_dim)
        last = len(config.depths) - 1
        for stage, depth in enumerate(config.depths):
            blocks = nn.ModuleList(
                SlideBlock(config, stage, block, folded)
                if config.slide_kernel(stage, block)
                else StripedBlock(config, stage)
                for block in range(depth)
            )
            self.add_module(f"stage{stage + 1}", blocks)
            if stage < last:
                self.add_module(f"merge{stage + 1}", ConvMerging(config, stage))
        self.add_ends(LAYER_NORM_EPS)

    def stages(self, image: Tensor) -> list[Tensor]:
        """See ``HostNetwork``."""
        tokens = self.stage1_conv_embed(image)
        outputs: list[Tensor] = []
        for stage in range(len(self.config.depths)):
            if stage:
                tokens = self.get_submodule(f"merge{stage}")(tokens)
            for block in self.get_submodule(f"stage{stage + 1}").children():
                tokens = block(tokens)
            outputs.append(tokens)
        return outputs

    def feature_norm(self, stage: int) -> str:
        """See ``HostNetwork``. The original code counts stages from one."""
        return f"norm{stage + 1}"

    def logits(self, tokens: Tensor) -> Tensor:
        """See ``HostNetwork``."""
        self.refuse_classifying()
        return super().logits(tokens)

    def refuse_classifying(self) -> None:
        """See ``HostNetwork``. The original code pads feature maps in backbones only."""
        config = self.config
        if all(map(config.tiled, config.image_size)):
            return
        height, width = config.image_size
        sizes = [f"{one}x{other}" for one, other in _tiled_sizes(config)]
        stripes = ", ".join(
            f"{config.stripes[stage]} in stage {stage + 1}"
            for stage in range(len(config.depths))
            if config.striped(stage)
        )
        ways = [f"--image-size {' or '.join(sizes)}"] if sizes else []
        raise InputError(
            f"An image of {height}x{width} has feature maps that the stripes ({stripes}) do not "
            f"tile: give {', '.join((*ways, 'other --stripes'))}, or export --features, which are "
            f"padded."
        )


def _tiled_sizes(config: CswinConfig) -> list[tuple[int, int]]:
    """Return the nearest smaller and larger image sizes whose feature maps the stripes tile.

    Only multiples of the last stage's stride are considered, although some sizes between them give
    the same feature maps.
    """
    step = 4 * 2 ** (len(config.depths) - 1)
    fitting = [size for size in range(step, MAX_IMAGE_SIDE + 1, step) if config.tiled(size)]
    smaller, larger = [], []
    for pixels in config.image_size:
        same = [pixels] if config.tiled(pixels) else []
        smaller.append((same or [size for size in fitting if size < pixels])[-1:])
        larger.append((same or [size for size in fitting if size > pixels])[:1])
    return [(one[0], other[0]) for one, other in (smaller, larger) if one and other]
