"""Small transformers in the styles of several projects."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PackedAttention(nn.Module):
    """Self-attention on tokens with one matmul for queries, keys and values.

    Args:
        dim: channels.
        heads: of the attention.
        order: of the outputs: "3hd", "h3d" or "hd3".
        written: as "products", "fused" or "flash": scaled logits, one operator, selects in front of
            transposes.
        bias: whether the projection has one.
    """

    def __init__(
        self, dim: int, heads: int, order: str = "3hd", written: str = "products", bias: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.order, self.written = heads, order, written
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, positions, dim = tokens.shape
        sizes = {"3": 3, "h": self.heads, "d": dim // self.heads}
        cut = self.qkv(tokens).reshape(batch, positions, *(sizes[each] for each in self.order))
        axes = {each: 2 + self.order.index(each) for each in self.order}
        if self.written == "flash":
            q, k, v = (
                cut.select(axes["3"], part).transpose(1, 2)
                if self.order != "hd3"
                else cut.select(4, part).permute(0, 2, 1, 3)
                for part in range(3)
            )
        else:
            q, k, v = cut.permute(axes["3"], 0, axes["h"], 1, axes["d"]).unbind(0)
        if self.written == "fused":
            out = functional.scaled_dot_product_attention(q, k, v)
        else:
            logits = (q @ k.transpose(-2, -1)) * sizes["d"] ** -0.5
            out = self.dropout(logits.softmax(dim=-1)) @ v
        return self.proj(out.transpose(1, 2).reshape(batch, positions, dim))


class SeparateAttention(nn.Module):
    """Self-attention with three separate matmuls, as in text models."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, positions, dim = tokens.shape

        def heads(value: Tensor) -> Tensor:
            return value.view(batch, positions, self.heads, dim // self.heads).permute(0, 2, 1, 3)

        q, k, v = heads(self.query(tokens)), heads(self.key(tokens)), heads(self.value(tokens))
        logits = torch.matmul(q, k.transpose(-1, -2)) / (dim // self.heads) ** 0.5
        out = torch.matmul(functional.softmax(logits, dim=-1), v)
        out = out.permute(0, 2, 1, 3).contiguous()
        return self.out(out.view(batch, positions, dim))


class Scaled(nn.Module):
    """A factor per channel, as in layer scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, value: Tensor) -> Tensor:
        return value * self.gamma


class Block(nn.Module):
    """Attention and MLP, each behind a normalisation and with a factor per channel."""

    def __init__(self, dim: int, attention: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = attention
        self.ls1, self.ls2 = Scaled(dim), Scaled(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * dim, dim)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class VisionTransformer(nn.Module):
    """Patches, a class token, positions and blocks; (batch, 3, 16, 16) to (batch, 5).

    Args:
        attentions: one for each block.
        dim: channels.
        pooled: whether the mean of all tokens is classified, not the token of the class.
    """

    def __init__(self, attentions: list[nn.Module], dim: int = 16, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.patch_embed = nn.Conv2d(3, dim, 4, stride=4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 17, dim))
        self.blocks = nn.ModuleList(Block(dim, attention) for attention in attentions)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, 5)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patch_embed(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(image.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        return self.head(tokens.mean(dim=1) if self.pooled else tokens[:, 0])


class WindowAttention(nn.Module):
    """Attention inside windows, with a bias selected by an index table, and a mask."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        axes = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        places = torch.stack(axes).flatten(1)
        apart = places[:, :, None] - places[:, None, :] + window - 1
        self.register_buffer("index", apart[0] * (2 * window - 1) + apart[1], persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        count, positions, dim = windows.shape
        qkv = self.qkv(windows).reshape(count, positions, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.table[self.index.view(-1)].view(positions, positions, -1)
        logits = logits + bias.permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            seen = mask.shape[0]
            logits = logits.view(-1, seen, self.heads, positions, positions)
            logits = logits + mask.unsqueeze(1).unsqueeze(0)
            logits = logits.view(-1, self.heads, positions, positions)
        out = logits.softmax(dim=-1) @ v
        return self.proj(out.transpose(1, 2).reshape(count, positions, dim))


class WindowBlock(nn.Module):
    """A window block on (batch, H, W, C), with six axes and cyclic shifts."""

    def __init__(self, dim: int, heads: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        mask = None
        if shift:
            label = torch.zeros(1, side, side, 1)
            cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
            for number, (rows, columns) in enumerate((a, b) for a in cuts for b in cuts):
                label[:, rows, columns] = number
            flat = self.partition(label).squeeze(-1)
            mask = (flat[:, None] != flat[:, :, None]).float() * -100.0
        self.register_buffer("mask", mask, persistent=False)

    def partition(self, maps: Tensor) -> Tensor:
        batch, height, width, channels = maps.shape
        side = self.window
        cut = maps.view(batch, height // side, side, width // side, side, channels)
        return cut.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, side * side, channels)

    def merge(self, windows: Tensor, height: int, width: int) -> Tensor:
        side, channels = self.window, windows.shape[-1]
        cut = windows.view(-1, height // side, width // side, side, side, channels)
        return cut.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, channels)

    def forward(self, maps: Tensor) -> Tensor:
        _, height, width, _ = maps.shape
        normed = self.norm1(maps)
        if self.shift:
            normed = torch.roll(normed, shifts=(-self.shift, -self.shift), dims=(1, 2))
        out = self.merge(self.attn(self.partition(normed), self.mask), height, width)
        if self.shift:
            out = torch.roll(out, shifts=(self.shift, self.shift), dims=(1, 2))
        maps = maps + out
        return maps + self.mlp(self.norm2(maps))


class PatchMerging(nn.Module):
    """Four positions become one.

    Args:
        dim: channels before.
        style: "slices" in the order of columns, "rows" in the order of rows, "axes" by six axes.
    """

    def __init__(self, dim: int, style: str = "slices") -> None:
        super().__init__()
        self.style = style
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        batch, height, width, channels = maps.shape
        if self.style == "axes":
            cut = maps.reshape(batch, height // 2, 2, width // 2, 2, channels)
            cells = cut.permute(0, 1, 3, 4, 2, 5).flatten(3)
        else:
            places = [(0, 0), (1, 0), (0, 1), (1, 1)]
            if self.style == "rows":
                places.sort()
            cells = torch.cat([maps[:, y::2, x::2, :] for y, x in places], -1)
        return self.reduction(self.norm(cells))


class WindowTransformer(nn.Module):
    """Two stages of window blocks; (batch, 3, 32, 32) to (batch, 5)."""

    def __init__(self, merging: str = "slices", dim: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, stride=4)
        self.first = nn.Sequential(WindowBlock(dim, 2, 8, 4, 0), WindowBlock(dim, 2, 8, 4, 2))
        self.merging = PatchMerging(dim, merging)
        self.second = WindowBlock(2 * dim, 4, 4, 4, 0)
        self.norm = nn.LayerNorm(2 * dim)
        self.head = nn.Linear(2 * dim, 5)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.first(self.embed(image).permute(0, 2, 3, 1))
        maps = self.second(self.merging(maps))
        return self.head(self.norm(maps).mean(dim=(1, 2)))


class NextBlock(nn.Module):
    """A depthwise convolution and a channels-last MLP, with a factor per channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, maps: Tensor) -> Tensor:
        tokens = self.norm(self.dwconv(maps).permute(0, 2, 3, 1))
        tokens = self.gamma * self.pwconv2(functional.gelu(self.pwconv1(tokens)))
        return maps + tokens.permute(0, 3, 1, 2)


class NextNet(nn.Module):
    """Convolutions and normalisations over channels; (batch, 3, 16, 16) to (batch, 5)."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, dim, 2, stride=2)
        self.first = NextBlock(dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.down = nn.Conv2d(dim, 2 * dim, 2, stride=2)
        self.second = NextBlock(2 * dim)
        self.head_norm = nn.LayerNorm(2 * dim)
        self.head = nn.Linear(2 * dim, 5)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.first(self.stem(image))
        maps = self.down(self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return self.head(self.head_norm(self.second(maps).mean([-2, -1])))


def packed(order: str = "3hd", written: str = "products", **settings: Any) -> VisionTransformer:
    """A vision transformer of two blocks with packed attentions."""
    return VisionTransformer([PackedAttention(16, 4, order, written, **settings) for _ in range(2)])


NETWORKS = {
    "vit": (packed, (3, 16, 16)),
    "vit fused": (lambda: packed(written="fused"), (3, 16, 16)),
    "vit flash": (lambda: packed(written="flash"), (3, 16, 16)),
    "vit h3d": (lambda: packed("h3d"), (3, 16, 16)),
    "vit hd3": (lambda: packed("hd3", "flash"), (3, 16, 16)),
    "vit apart": (lambda: VisionTransformer([SeparateAttention(16, 4)], pooled=True), (3, 16, 16)),
    "windows": (WindowTransformer, (3, 32, 32)),
    "windows rows": (lambda: WindowTransformer("rows"), (3, 32, 32)),
    "windows axes": (lambda: WindowTransformer("axes"), (3, 32, 32)),
    "next": (NextNet, (3, 16, 16)),
}
