"""Small networks of many kinds without slide attention, each with its input shape."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = tuple[int, ...]


def plain_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32, eps=1e-3),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=4),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


class Bottleneck(nn.Module):
    """With the stride in 1x1 convolutions, which some converters move."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, stride, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.body(maps) + self.shortcut(maps))


def resnet() -> nn.Module:
    stem = (nn.Conv2d(3, 32, 7, 2, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, Bottleneck(32, 8, 32, 1), Bottleneck(32, 16, 64, 2))


class Block(nn.Module):
    """Of a vision transformer, as timm writes it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        parts = self.qkv(self.norm1(tokens)).reshape(batch, count, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(q, k, v)
        tokens = tokens + self.proj(attended.transpose(1, 2).reshape(batch, count, width))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class Transformer(nn.Module):
    def __init__(self, blocks: nn.Module, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width))
        self.blocks, self.norm, self.head = blocks, nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(image.shape[0], -1, -1), tokens], 1)
        out: Tensor = self.head(self.norm(self.blocks(tokens + self.positions))[:, 0])
        return out


def vision_transformer() -> nn.Module:
    return Transformer(nn.Sequential(Block(32, 4), Block(32, 4)))


def transformer_encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return Transformer(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))


class CausalBlock(nn.Module):
    """With a mask of minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.register_buffer("mask", torch.full((9, 9), float("-inf")).triu(1))

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.qkv(tokens).chunk(3, -1)
        logits = q @ k.transpose(1, 2) / 4 + self.mask
        out: Tensor = logits.softmax(-1) @ v
        return out


def _double(inputs: int, outputs: int) -> nn.Module:
    layers = (
        (nn.Conv2d(count, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
        for count in (inputs, outputs)
    )
    return nn.Sequential(*(layer for pair in layers for layer in pair))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = _double(3, 8), _double(8, 16), _double(16, 32)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(32, 16, 2, 2)
        self.up1 = nn.ConvTranspose2d(16, 8, 4, 2, 1, groups=2)
        self.down2, self.down1 = _double(32, 16), _double(16, 8)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        second = self.second(self.pool(first))
        third = self.third(self.pool(second))
        maps = self.down2(torch.cat([self.up2(third), second], 1))
        out: Tensor = self.last(self.down1(torch.cat([self.up1(maps), first], 1)))
        return out


class Upsampler(nn.Module):
    """Padding of all kinds, group and instance normalisation, interpolation, pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 8, 3, padding="same", dilation=2)
        self.even = nn.Conv2d(8, 12, (2, 4), padding="same")
        self.reflected = nn.Conv2d(12, 12, 3, padding=1, padding_mode="reflect")
        self.groups = nn.GroupNorm(3, 12, eps=1e-4)
        self.instances = nn.InstanceNorm2d(12, eps=1e-3, affine=True)
        self.twice = nn.ConvTranspose2d(12, 12, 3, 2, 1, output_padding=1)
        self.last = nn.Conv2d(12, 12, 3)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.groups(self.reflected(self.even(self.same(image))))
        maps = functional.interpolate(functional.leaky_relu(maps), scale_factor=2, mode="bilinear")
        maps = functional.interpolate(self.instances(maps), scale_factor=2, mode="nearest")
        maps = functional.pad(self.twice(maps), (1, 2, 0, 1))
        return functional.pixel_shuffle(self.last(maps), 2)


def signal_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 8, 5, 2, 2),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Conv1d(8, 8, 3, padding=1, groups=8),
        nn.Conv1d(8, 16, 1),
        nn.ConvTranspose1d(16, 8, 4, 2, 1),
        nn.GELU(),
        nn.Conv1d(8, 3, 3, padding=1),
    )


def volume_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.Conv3d(4, 4, (1, 3, 3), padding=(0, 1, 1), groups=2),
        nn.ConvTranspose3d(4, 2, 2, 2),
    )


class Queries(nn.Module):
    """Attentions of torch over tokens and learned queries; one of them has one head."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 4, 16))
        self.several = nn.MultiheadAttention(16, 4, batch_first=True)
        self.one = nn.MultiheadAttention(16, 1, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, tokens: Tensor) -> Tensor:
        queries = self.queries.expand(tokens.shape[0], -1, -1)
        found = self.several(queries, tokens, tokens, need_weights=False)[0]
        out: Tensor = self.norm(self.one(found, tokens, tokens)[0])
        return out


class Pooling(nn.Module):
    """One head over constant queries, as one operator and written out."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 1, 3, 16))
        self.keys, self.values = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        keys, values = self.keys(tokens)[:, None], self.values(tokens)[:, None]
        fused = functional.scaled_dot_product_attention(self.queries, keys, values)
        logits = self.queries @ keys.transpose(-2, -1) * 0.25
        return fused + logits.softmax(-1) @ values


class RepVgg(nn.Module):
    """An unfolded block: the sum of a 3x3 convolution, a 1x1 convolution and the identity."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
        self.narrow = nn.Conv2d(channels, channels, 1, groups=groups, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(3))

    def forward(self, maps: Tensor) -> Tensor:
        wide, narrow, alone = self.norms
        return functional.relu(wide(self.wide(maps)) + narrow(self.narrow(maps)) + alone(maps))


class MobileOne(nn.Module):
    """Two grouped convolutions of one geometry that are added on purpose."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
            )
            for _ in range(2)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.first(maps) + self.second(maps))


class MapNorm(nn.Module):
    """A layer normalisation over channels, written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels, 1, 1))
        self.bias = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        centred = maps - maps.mean(1, keepdim=True)
        variance = centred.pow(2).mean(1, keepdim=True)
        return self.weight * (centred / torch.sqrt(variance + 1e-6)) + self.bias


class ConvNextBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.wide, self.narrow = nn.Linear(channels, 64), nn.Linear(64, channels)
        self.scale = nn.Parameter(torch.rand(channels))

    def forward(self, maps: Tensor) -> Tensor:
        rows = self.norm(self.depthwise(maps).permute(0, 2, 3, 1))
        rows = self.scale * self.narrow(functional.gelu(self.wide(rows)))
        return maps + rows.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4), MapNorm(16), ConvNextBlock(16), MapNorm(16), nn.Conv2d(16, 8, 2, 2)
    )


def root_mean_square() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.RMSNorm(32, eps=1e-4), nn.Linear(32, 16))


class Shuffle(nn.Module):
    """Channels of groups exchanged through rank 5."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, 2, 1, groups=8)

    def forward(self, maps: Tensor) -> Tensor:
        mixed = self.first(maps)
        batch, channels, height, width = mixed.shape
        mixed = mixed.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        mixed = self.depthwise(mixed.reshape(batch, channels, height, width))
        return torch.cat([self.last(mixed), functional.avg_pool2d(maps, 3, 2, 1)], 1)


class Shared(nn.Module):
    """A layer that serves twice, once on the same tokens; matrices on either side."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.register_buffer("mixing", torch.randn(9, 9))
        self.register_buffer("basis", torch.randn(16, 8))

    def forward(self, tokens: Tensor) -> Tensor:
        twice = self.layer(self.layer(tokens)) + self.layer(tokens)
        folded = self.basis @ self.basis.T
        out: Tensor = twice + self.mixing @ tokens + tokens @ folded
        return out


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], Shape]] = {
    "plain CNN": (plain_cnn, (3, 32, 32)),
    "ResNet": (resnet, (3, 32, 32)),
    "ViT": (vision_transformer, (3, 32, 32)),
    "encoder of torch": (transformer_encoder, (3, 32, 32)),
    "causal": (CausalBlock, (9, 16)),
    "U-Net": (UNet, (3, 32, 32)),
    "upsampler": (Upsampler, (3, 8, 8)),
    "1-D": (signal_network, (4, 32)),
    "3-D": (volume_network, (2, 4, 8, 8)),
    "queries": (Queries, (9, 16)),
    "pooling": (Pooling, (9, 16)),
    "RepVGG": (lambda: nn.Sequential(RepVgg(8, 1), RepVgg(8, 2)), (8, 16, 16)),
    "MobileOne": (lambda: nn.Sequential(MobileOne(8), MobileOne(8)), (8, 16, 16)),
    "ConvNeXt": (convnext, (3, 32, 32)),
    "RMS": (root_mean_square, (9, 16)),
    "shuffle": (Shuffle, (8, 16, 16)),
    "shared": (Shared, (9, 16)),
}


def network(name: str) -> tuple[nn.Module, Shape]:
    """One of them with random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    model = make()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for held in (module.running_mean, module.running_var, module.weight, module.bias):
                assert isinstance(held, Tensor)
                nn.init.uniform_(held, 0.5, 2)
    return model.eval(), shape
