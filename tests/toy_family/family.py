"""A host family in one file: a convolution, two stages of slide attention, a classifier.

``docs/extending.md`` describes the same steps.
"""

import re
from dataclasses import dataclass

from torch import Tensor, nn

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.checkpoint.stated import Vocabulary
from slide_deploy.errors import InputError
from slide_deploy.hosts.host import Architecture, Host
from slide_deploy.hosts.named_networks import NamedNetworks
from slide_deploy.models.host_network import HostNetwork
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    SlideAttention,
    SlideAttentionConfig,
)

PATCH = 4


@dataclass(frozen=True)
class ToyConfig:
    """The settings. Channels double from stage to stage."""

    image_size: tuple[int, int] = (32, 32)
    num_classes: int = 5
    embed_dim: int = 8
    depths: tuple[int, ...] = (1, 1)
    num_heads: tuple[int, ...] = (2, 4)
    kernel_size: int = 3
    in_channels: int = 3

    def __post_init__(self) -> None:
        step = PATCH * 2 ** (len(self.depths) - 1)
        if any(side % step for side in self.image_size):
            raise InputError(f"Image sides must be multiples of {step} in a Toy: give other ones.")

    def dim(self, stage: int) -> int:
        return self.embed_dim * 2**stage

    def resolution(self, stage: int) -> tuple[int, int]:
        step = PATCH * 2**stage
        return self.image_size[0] // step, self.image_size[1] // step

    def attention(self, stage: int) -> SlideAttentionConfig:
        return SlideAttentionConfig(self.dim(stage), self.num_heads[stage], self.kernel_size)


class Block(nn.Module):
    def __init__(self, config: ToyConfig, stage: int, folded: bool) -> None:
        super().__init__()
        form = FoldedSlideAttention if folded else SlideAttention
        self.norm = nn.LayerNorm(config.dim(stage))
        self.attn = form(config.attention(stage), "tokens", config.resolution(stage))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.attn(self.norm(tokens))


class Toy(HostNetwork):
    def __init__(self, config: ToyConfig, folded: bool = False, features: bool = False) -> None:
        super().__init__(config, features)
        self.stem = nn.Conv2d(config.in_channels, config.embed_dim, PATCH, stride=PATCH)
        self.levels = nn.ModuleList(
            nn.Sequential(*(Block(config, stage, folded) for _ in range(depth)))
            for stage, depth in enumerate(config.depths)
        )
        self.down = nn.ModuleList(
            nn.Conv2d(config.dim(stage), config.dim(stage + 1), 2, stride=2)
            for stage in range(len(config.depths) - 1)
        )
        if not features:
            self.norm = nn.LayerNorm(config.dim(len(config.depths) - 1))
            self.head = nn.Linear(self.norm.normalized_shape[0], config.num_classes)

    def stages(self, image: Tensor) -> list[Tensor]:
        x = self.stem(image)
        stages: list[Tensor] = []
        for stage, blocks in enumerate(self.levels):
            if stage:
                x = self.down[stage - 1](self.feature_map(stage - 1, stages[-1]))
            stages.append(blocks(x.flatten(2).transpose(1, 2)))
        return stages


def from_shapes(stored: StoredWeights) -> dict[str, object]:
    """Read the settings that follow from shapes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in stored.tensors.items()}
    blocks = {re.match(r"levels\.(\d+)\.(\d+)\.", name) for name in shapes} - {None}
    stages = sorted({int(found[1]) for found in blocks})
    attention = "levels.0.0.attn"
    kernels = [f"{attention}.{name}.weight" for name in ("dep_conv1", "key_conv")]
    kernel = next(shapes[name] for name in kernels if name in shapes)
    return {
        "num_classes": shapes.get("head.weight", (0,))[0],
        "embed_dim": shapes["stem.weight"][0],
        "in_channels": shapes["stem.weight"][1],
        "depths": tuple(1 + max(int(b[2]) for b in blocks if int(b[1]) == s) for s in stages),
        "kernel_size": kernel[-1],
    }


def infer(stored: StoredWeights, overrides: Overrides) -> tuple[ToyConfig, tuple[str, ...]]:
    side = stored.stated.settings.get("image_size")
    size = overrides.image_size if side is None else (side, side)
    if size is None:
        raise InputError(f"{stored.path} does not state the image size: give it with --image-size.")
    known = from_shapes(stored)
    heads = tuple(
        stored.tensors[f"levels.{stage}.0.attn.relative_position_bias_table"].shape[1]
        for stage in range(len(known["depths"]))
    )
    return ToyConfig(image_size=size, num_heads=heads, **known), ()


def fits(stored: StoredWeights, config: ToyConfig) -> bool:
    return all(getattr(config, name) == value for name, value in from_shapes(stored).items())


TOY = Host(
    name="toy",
    finder=NamedNetworks(
        family="Toy",
        first_layer="stem",
        names=re.compile(
            r"(?:stem|down\.\d|levels\.\d\.\d\.(?:norm|attn\.(?:qkv|proj|dep_conv1?|key_conv"
            r"|value_conv))|norm|head)\.(?:weight|bias)"
            r"|levels\.\d\.\d\.attn\.relative_position_bias_table"
        ),
        vocabulary=Vocabulary(kinds=("toy",), shown={"DATA.IMG_SIZE": "image_size"}),
    ),
    settings=ToyConfig,
    infer=infer,
    fits=fits,
    build=Toy,
    summary=lambda config: f"depths {' '.join(map(str, config.depths))}",
    published=(Architecture("toy_small", ToyConfig(), 3_955),),
)
