"""Small vision networks of many kinds, converted by coremltools, answer as torch does."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.backends.mil_interpreter.conversion import Case, convert_all

IMAGE = (1, 3, 20, 28)


def convolution(
    channels: int, outputs: int, *, stride: int = 1, groups: int = 1, norm: bool = True
):
    """A convolution of three by three, with a normalisation behind it."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, outputs, 3, stride, 1, groups=groups, bias=not norm)
    ]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(outputs)] if norm else []))


class Excited(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, 4, 1),
            nn.ReLU(),
            nn.Conv2d(4, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Pyramid(nn.Module):
    """A feature pyramid of three levels, the nearest pixels laid over."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            [convolution(3, 8, stride=2), convolution(8, 12, stride=2), convolution(12, 16)]
        )
        self.sides = nn.ModuleList([nn.Conv2d(size, 6, 1) for size in (8, 12, 16)])
        self.head = nn.Conv2d(6, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for level in self.levels:
            x = functional.leaky_relu(level(x), 0.1)
            maps.append(x)
        top = self.sides[2](maps[2]) + self.sides[1](maps[1])
        size = maps[0].shape[-2:]
        return self.head(functional.interpolate(top, size=size) + self.sides[0](maps[0]))


class Segmenter(nn.Module):
    """Down, up by a transposed convolution and by interpolation, with bridges."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = convolution(3, 6), convolution(6, 12)
        self.up = nn.ConvTranspose2d(12, 6, 3, stride=2, padding=1, output_padding=1)
        self.last = convolution(12, 4, norm=False)

    def forward(self, x: Tensor) -> Tensor:
        bridge = functional.elu(self.first(x))
        low = functional.mish(self.second(functional.max_pool2d(bridge, 2, 2)))
        both = torch.cat([self.up(low), bridge], 1)
        return functional.interpolate(
            self.last(both), scale_factor=2, mode="bilinear", align_corners=True
        ).log_softmax(1)


class Detector(nn.Module):
    """The best places of a heat map, and the boxes there."""

    def __init__(self) -> None:
        super().__init__()
        self.body = convolution(3, 8, stride=2)
        self.heat, self.sizes = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.body(x))
        heat = self.heat(x).sigmoid()
        peaks = (heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)).flatten(1)
        scores, places = peaks.topk(6, 1)
        places = places % (heat.shape[2] * heat.shape[3])
        boxes = self.sizes(x).flatten(2).gather(2, places[:, None].expand(1, 4, 6))
        return torch.cat([scores[:, None], boxes, places[:, None].float()], 1)


class Keypoints(nn.Module):
    """The mean place of each heat map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(3, 6), nn.Softplus(), nn.Conv2d(6, 5, 1))

    def forward(self, x: Tensor) -> Tensor:
        heat = self.body(x)
        share = heat.flatten(2).softmax(-1).reshape(heat.shape)
        rows = torch.arange(heat.shape[2], dtype=torch.float32)
        columns = torch.arange(heat.shape[3], dtype=torch.float32)
        return torch.stack([(share.sum(3) * rows).sum(2), (share.sum(2) * columns).sum(2)], -1)


class Warped(nn.Module):
    """A map looked up at points that the network itself computes."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Conv2d(3, 2, 3, padding=1)
        rows, columns = torch.meshgrid(
            torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 28), indexing="ij"
        )
        self.register_buffer("grid", torch.stack([columns, rows], -1)[None])

    def forward(self, x: Tensor) -> Tensor:
        points = self.grid + 0.2 * self.flow(x).permute(0, 2, 3, 1)
        return functional.grid_sample(x, points, padding_mode="border", align_corners=False)


class Transformer(nn.Module):
    """Patches, attention as one function, an MLP with the approximate GELU, a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(
            nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU("tanh"), nn.Linear(32, 16)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token, self.patches(x).flatten(2).transpose(1, 2)], 1)
        tokens = x.shape[1]
        # (batch, tokens, 3, head, d) -> three of (batch, head, tokens, d)
        q, k, v = self.qkv(self.norm(x)).reshape(1, tokens, 3, 4, 4).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(1, tokens, 16))
        return (x + self.mlp(x))[:, 0]


class Masks(nn.Module):
    """One mask a class, each pixel in that of its best class; and what the image holds of each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 5, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        masks = functional.one_hot(self.body(x).argmax(1), 5).permute(0, 3, 1, 2).float()
        return torch.einsum("bkhw,bchw->bkc", masks, x) / (masks.sum((2, 3))[..., None] + 1)


def built(layers, *shapes, widest=1):
    """A case of a network with inputs of these shapes, by default one image."""
    network = layers if isinstance(layers, nn.Module) else nn.Sequential(*layers)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return Case(network, shapes or (IMAGE,), widest=widest)


torch.manual_seed(21)
NETWORKS = {
    "mobile": built(
        [
            convolution(3, 8, stride=2),
            nn.Hardswish(),
            convolution(8, 8, groups=8),
            nn.Hardswish(),
            Excited(8),
            nn.Conv2d(8, 5, 1),
        ]
    ),
    "efficient": built([convolution(3, 8), nn.SiLU(), Excited(8), nn.MaxPool2d(3, 2, 1)]),
    "super_resolution": built(
        [
            convolution(3, 12, norm=False),
            nn.PReLU(12),
            nn.Conv2d(12, 27, 3, padding=1),
            nn.PixelShuffle(3),
        ]
    ),
    "unshuffled": built([nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 1), nn.SELU()]),
    "style": built(
        [
            nn.ReflectionPad2d(4),
            nn.Conv2d(3, 6, 9, 2),
            nn.InstanceNorm2d(6, affine=True),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.ReplicationPad2d(1),
            nn.Conv2d(6, 3, 3),
            nn.Tanh(),
        ]
    ),
    "first_of_their_kind": built(
        [
            nn.Conv2d(3, 8, 5, 2),
            nn.ReLU(),
            nn.LocalResponseNorm(5, 0.01),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(192, 6),
            nn.Softmax(1),
        ]
    ),
    "pyramid": built(Pyramid()),
    "segmenter": built(Segmenter()),
    "detector": built(Detector()),
    "keypoints": built(Keypoints()),
    "warped": built(Warped(), widest=28),
    "masks": built(Masks()),
    "volume": built(
        [nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2, 2)], (1, 2, 4, 6, 8)
    ),
}
TRACED = {
    # Through torch.export, coremltools 9 converts the approximate GELU as the exact one.
    "transformer": built(Transformer()),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return convert_all(NETWORKS, tmp_path_factory.mktemp("vision") / "all.mlpackage", "iOS16")


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    path = tmp_path_factory.mktemp("traced") / "all.mlpackage"
    return convert_all(TRACED, path, "iOS17", traced=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_matches_torch(name, exported):
    exported.check(name)


@pytest.mark.parametrize("name", TRACED)
def test_a_traced_network_matches_torch(name, traced):
    traced.check(name)
