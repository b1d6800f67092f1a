"""Networks with slide attention: classifiers, detectors, super-resolution, segmentation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.foreign.classes import ForeignAttention, TokensAndSize, Tuple
from tests.foreign.goldens import Residual

Layer = Callable[[], nn.Module]


def first(output: Any) -> Tensor:
    """Return the output tensor of an attention that returns a tensor, a tuple or a list."""
    out: Tensor = output[0] if isinstance(output, tuple | list) else output
    return out


class ResidualNet(nn.Module):
    """A classifier with residual attentions and convolutions between them."""

    def __init__(self, *layers: nn.Module, dim: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, dim, 4, 4), nn.BatchNorm2d(dim), nn.ReLU())
        self.blocks = nn.ModuleList(Residual(layer) for layer in layers)
        self.between = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in layers)
        self.head = nn.Linear(dim, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        for block, conv in zip(self.blocks, self.between, strict=True):
            x = functional.silu(conv(block(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class DenseNet(nn.Module):
    """A dense network: the outputs of all attentions are concatenated with the input."""

    def __init__(self, *layers: nn.Module, dim: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 4, 4)
        self.layers = nn.ModuleList(layers)
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Conv2d((place + 2) * dim, dim, 1, bias=False), nn.BatchNorm2d(dim))
            for place in range(len(layers))
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        seen = [x]
        for layer, narrow in zip(self.layers, self.narrow, strict=True):
            seen.append(first(layer(x)))
            x = functional.relu(narrow(torch.cat(seen, 1)))
        return torch.cat([*seen, x], 1)


class Neck(nn.Module):
    """A neck on three feature maps, from the coarsest down, with narrowed attentions."""

    def __init__(self, widths: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in widths)
        self.attend = nn.ModuleList(Tuple(dim, 2, reduction=2) for _ in widths)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for x, lateral, attend in reversed(list(zip(maps, self.lateral, self.attend, strict=True))):
            side = lateral(x)
            if found:
                side = side + functional.interpolate(found[-1], size=side.shape[2:])
            found.append(side + attend(side)[0])
        return tuple(reversed(found))


class Detector(nn.Module):
    """Outputs scores and boxes for each of three feature maps."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 12, 16)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
            )
            for inputs, outputs in zip((3, *widths), widths, strict=False)
        )
        self.neck = Neck(widths, 12)
        self.scores, self.boxes = nn.Conv2d(12, 4, 1), nn.Conv2d(12, 4, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        maps = []
        for stage in self.stages:
            image = stage(image)
            maps.append(image)
        return tuple((self.scores(x).sigmoid(), self.boxes(x).exp()) for x in self.neck(maps))


class SuperResolution(nn.Module):
    """Doubles height and width by a pixel shuffle, added to a nearest-neighbour shortcut."""

    def __init__(self, attention: Layer = ForeignAttention) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 12, 3, padding=1)
        self.body = nn.Sequential(*(Residual(attention()) for _ in range(2)))
        self.tail = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, image: Tensor) -> Tensor:
        x = self.head(image)
        near = functional.interpolate(image, scale_factor=2, mode="nearest")
        out: Tensor = self.tail(x + self.body(x)) + near
        return out


class Segmenter(nn.Module):
    """Outputs classes at the size of the image, by interpolation."""

    def __init__(self, mode: str = "bilinear") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, 4)
        self.attend, self.classes = Residual(Tuple()), nn.Conv2d(12, 4, 1)
        self.mode = mode

    def forward(self, image: Tensor) -> Tensor:
        x = self.classes(self.attend(functional.gelu(self.stem(image))))
        align = False if self.mode == "bilinear" else None
        return functional.interpolate(x, size=image.shape[2:], mode=self.mode, align_corners=align)


class TwoInputs(nn.Module):
    """Takes an image and a condition that scales its features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attend = nn.Conv2d(3, 12, 4, 4), Residual(ForeignAttention())
        self.gain = nn.Linear(6, 12)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        gain = self.gain(condition).sigmoid()[..., None, None]
        out: Tensor = self.attend(self.stem(image) * gain)
        return out


class Shared(nn.Module):
    """One attention with two names, called at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 12, 4, 4), nn.Conv2d(12, 12, 2, 2)
        self.attend = ForeignAttention()
        self.again = self.attend

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.stem(image)
        x = x + self.attend(x)
        y = self.down(x)
        return [x, y + self.again(y)]


class Block(nn.Module):
    """A transformer block on tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), TokensAndSize(), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), height, width)
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class Tokens(nn.Module):
    """Patch embedding, blocks on tokens and a feature map, for images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, 12, 4, 4), nn.ModuleList([Block(12), Block(12)])

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image)
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, height, width)
        return tokens.transpose(1, 2).unflatten(2, (height, width))


class Everything(nn.Module):
    """Outputs nested dicts and lists of feature maps, logits, a scalar and indices."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attend = nn.Conv2d(3, 12, 4, 4), Residual(Tuple())
        self.head = nn.Linear(12, 5)

    def forward(self, image: Tensor) -> dict[str, Any]:
        x = self.attend(self.stem(image))
        logits = self.head(x.mean((2, 3)))
        return {
            "maps": {"coarse": functional.max_pool2d(x, 2), "fine": x},
            "logits": [logits, logits.softmax(1)],
            "energy": x.square().mean(),
            "label": logits.argmax(1),
            "note": "no tensor",
        }


class Functions(nn.Module):
    """Functions, slices and arithmetic around the attention, in one ``forward``."""

    def __init__(self, attention: nn.Module, dim: int = 12) -> None:
        super().__init__()
        self.attention = attention
        self.weight = nn.Parameter(torch.zeros(dim, 3, 4, 4))
        self.gain = nn.Parameter(torch.zeros(1, dim, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = functional.conv2d(image, self.weight, stride=4)
        x = x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-5) * (1 + self.gain)
        y = first(self.attention(x))
        gate, rest = y[:, ::2], y[:, 1::2]
        return functional.relu(gate) ** 2 + torch.tanh(rest) * x[:, :6]
