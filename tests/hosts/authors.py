"""A Slide-Swin with the names, shapes and order of the published weights."""

from typing import Any

import torch
from torch import Tensor, nn

from tests.foreign.classes import ForeignAttention

Pair = tuple[int, int]


class SlideAttention(ForeignAttention):
    """Slide attention on tokens of a fixed resolution."""

    def __init__(self, dim: int, heads: int, resolution: Pair) -> None:
        super().__init__(dim, heads)
        self.input_resolution = resolution
        table = torch.zeros(1, heads, 1, self.kernel**2, 1, 1)
        self.relative_position_bias_table = nn.Parameter(table)
        del self.table

    @property
    def table(self) -> Tensor:
        return self.relative_position_bias_table[0, :, 0, :, 0, 0]

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x, *self.input_resolution)


class WindowAttention(nn.Module):
    """Attention inside each window, with a bias for each pair of positions."""

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        places = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        ).flatten(1)
        apart = places[:, :, None] - places[:, None] + window - 1
        self.register_buffer("relative_position_index", apart[0] * (2 * window - 1) + apart[1])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        count, tokens, dim = x.shape
        parts = self.qkv(x).reshape(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        logits = (q * (dim // self.heads) ** -0.5) @ k.transpose(-2, -1)
        index = self.relative_position_index.view(-1)
        bias = self.relative_position_bias_table[index].view(tokens, tokens, -1)
        logits = logits + bias.permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            logits = logits.view(count // windows, windows, self.heads, tokens, tokens)
            logits = (logits + mask.unsqueeze(1).unsqueeze(0)).view(-1, self.heads, tokens, tokens)
        out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(count, tokens, dim)
        return self.proj(out)


def to_windows(x: Tensor, window: int) -> Tensor:
    """(batch, H, W, C) to (batch * windows, window, window, C)."""
    batch, height, width, dim = x.shape
    x = x.view(batch, height // window, window, width // window, window, dim)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window, window, dim)


def from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """(batch * windows, window, window, C) to (batch, H, W, C)."""
    batch = windows.shape[0] // (height * width // window // window)
    x = windows.view(batch, height // window, width // window, window, window, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(batch, height, width, -1)


def mask_of(resolution: Pair, window: int, shift: int) -> Tensor:
    """Return -100 between tokens that only the shift moves into one window, else 0."""
    regions = torch.zeros(1, *resolution, 1)
    parts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((a, b) for a in parts for b in parts):
        regions[:, rows, columns] = number
    tokens = to_windows(regions, window).view(-1, window * window)
    apart = tokens.unsqueeze(1) - tokens.unsqueeze(2)
    return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)


class Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(self.act(self.fc1(x)))
        return out


class Block(nn.Module):
    def __init__(
        self, dim: int, resolution: Pair, heads: int, window: int, shift: int, slides: bool
    ) -> None:
        super().__init__()
        self.input_resolution = resolution
        self.window, self.shift = (
            (min(resolution), 0) if min(resolution) <= window else (window, shift)
        )
        self.norm1, self.norm2, self.mlp = nn.LayerNorm(dim), nn.LayerNorm(dim), Mlp(dim)
        self.slides = slides
        self.attn: nn.Module = (
            SlideAttention(dim, heads, resolution)
            if slides
            else WindowAttention(dim, self.window, heads)
        )
        is_masked = self.shift > 0 and not slides
        mask = mask_of(resolution, self.window, self.shift) if is_masked else None
        self.register_buffer("attn_mask", mask)

    def windows(self, x: Tensor) -> Tensor:
        (height, width), (batch, count, dim) = self.input_resolution, x.shape
        x = x.view(batch, height, width, dim)
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        rows = to_windows(x, self.window).view(-1, self.window**2, dim)
        rows = self.attn(rows, self.attn_mask).view(-1, self.window, self.window, dim)
        x = from_windows(rows, self.window, height, width)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        return x.view(batch, count, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + (self.attn(y) if self.slides else self.windows(y))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchMerging(nn.Module):
    def __init__(self, resolution: Pair, dim: int) -> None:
        super().__init__()
        self.input_resolution = resolution
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        (height, width), (batch, _, dim) = self.input_resolution, x.shape
        x = x.view(batch, height, width, dim)
        cells = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        out: Tensor = self.reduction(self.norm(torch.cat(cells, -1).view(batch, -1, 4 * dim)))
        return out


class Stage(nn.Module):
    def __init__(
        self,
        dim: int,
        resolution: Pair,
        depth: int,
        heads: int,
        window: int,
        slides: bool,
        is_last: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, resolution, heads, window, window // 2 if place % 2 else 0, slides)
            for place in range(depth)
        )
        self.downsample = None if is_last else PatchMerging(resolution, dim)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class PatchEmbed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, dim, 4, 4), nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(image).flatten(2).transpose(1, 2))
        return out


class SlideSwin(nn.Module):
    """The classifier. The first ``slides`` stages have slide attention, the others windows."""

    def __init__(
        self,
        size: int = 64,
        dim: int = 8,
        depths: tuple[int, ...] = (1, 1, 2, 1),
        heads: tuple[int, ...] = (1, 2, 4, 8),
        window: int = 56,
        slides: int = 2,
        classes: int = 4,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(dim)
        self.pos_drop = nn.Dropout(0.1)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            Stage(
                dim * 2**place,
                (size // 4 // 2**place,) * 2,
                depth,
                heads[place],
                window,
                place < slides,
                place == last,
            )
            for place, depth in enumerate(depths)
        )
        self.norm = nn.LayerNorm(dim * 2**last)
        self.avgpool = nn.AdaptiveAvgPool1d(1)
        self.head = nn.Linear(dim * 2**last, classes)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the tokens of every stage."""
        x = self.pos_drop(self.patch_embed(image))
        found = []
        for stage in self.layers:
            x = stage(x)
            found.append(x)
            if stage.downsample is not None:
                x = stage.downsample(x)
        return found

    def forward(self, image: Tensor) -> Any:
        x = self.norm(self.maps(image)[-1])
        return self.head(self.avgpool(x.transpose(1, 2)).flatten(1))


class Pyramid(nn.Module):
    """A feature pyramid: the stages' feature maps, projected and summed from the coarsest down."""

    def __init__(self, backbone: SlideSwin, dim: int, width: int = 16) -> None:
        super().__init__()
        self.backbone = backbone
        stages = list(backbone.layers)
        self.lateral = nn.ModuleList(nn.Conv2d(dim * 2**i, width, 1) for i in range(len(stages)))
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in stages)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        height, width = image.shape[2] // 4, image.shape[3] // 4
        sides = [
            lateral(tokens.transpose(1, 2).reshape(len(image), -1, height // 2**i, width // 2**i))
            for i, (tokens, lateral) in enumerate(
                zip(self.backbone.maps(image), self.lateral, strict=True)
            )
        ]
        for i in reversed(range(len(sides) - 1)):
            sides[i] = sides[i] + nn.functional.interpolate(sides[i + 1], scale_factor=2.0)
        return {
            f"p{i + 2}": conv(x) for i, (conv, x) in enumerate(zip(self.smooth, sides, strict=True))
        }
