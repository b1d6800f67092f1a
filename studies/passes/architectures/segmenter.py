"""A segmenter with blocks that convert between NCHW and tokens (Xie et al., SegFormer, 2021)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def _tokens(maps: Tensor) -> Tensor:
    """(batch, channels, H, W) to (batch, H * W, channels)."""
    return maps.flatten(2).transpose(1, 2)


def _maps(tokens: Tensor, height: int, width: int) -> Tensor:
    """(batch, H * W, channels) to (batch, channels, H, W)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)


class _Attention(nn.Module):
    """Attention of each position to a feature map of lower resolution."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.reduce = nn.Conv2d(dim, dim, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        batch, tokens, dim = x.shape
        q = self.q(x).reshape(batch, tokens, self.heads, dim // self.heads).transpose(1, 2)
        if self.reduce is not None:
            x = self.norm(_tokens(self.reduce(_maps(x, height, width))))
        kv = self.kv(x).reshape(batch, -1, 2, self.heads, dim // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
        shares = (q @ k.transpose(-2, -1) * (dim // self.heads) ** -0.5).softmax(-1)
        return self.proj((shares @ v).transpose(1, 2).reshape(batch, tokens, dim))


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = _Attention(dim, heads, reduction)
        self.norm2 = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 4 * dim)
        self.depthwise = nn.Conv2d(4 * dim, 4 * dim, 3, padding=1, groups=4 * dim)
        self.project = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        x = x + self.attention(self.norm1(x), height, width)
        out = _maps(self.expand(self.norm2(x)), height, width)
        return x + self.project(functional.gelu(_tokens(self.depthwise(out))))


class _Stage(nn.Module):
    def __init__(
        self, before: int, dim: int, heads: int, reduction: int, depth: int, stride: int
    ) -> None:
        super().__init__()
        kernel = 2 * stride - 1
        self.patches = nn.Conv2d(before, dim, kernel, stride, kernel // 2)
        self.norm1 = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(_Block(dim, heads, reduction) for _ in range(depth))
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        height, width = x.shape[2:]
        x = self.norm1(_tokens(x))
        for block in self.blocks:
            x = block(x, height, width)
        return _maps(self.norm2(x), height, width)


class Segmenter(nn.Module):
    """(batch, 3, height, width) to logits of the classes at a quarter of its size.

    Args:
        dims: Channels of each stage.
        heads: Attention heads of each stage.
        depth: Blocks of each stage.
        width: Channels of the head.
        classes: Number of logits per position.
    """

    def __init__(
        self, dims: Sequence[int], heads: Sequence[int], depth: int, width: int, classes: int
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = 3
        for stage, (dim, count) in enumerate(zip(dims, heads, strict=True)):
            # Every attention has as many keys as the smallest feature map has positions.
            reduction = 2 ** (len(dims) - 1 - stage)
            stride = 2 if stage else 4
            self.stages.append(_Stage(before, dim, count, reduction, depth, stride))
            before = dim
        self.lateral = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        self.fuse = nn.Conv2d(len(dims) * width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (batch, classes, height / 4, width / 4)."""
        maps: list[Tensor] = []
        x = image
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            maps.append(_maps(lateral(_tokens(x)), *x.shape[2:]))
        size = maps[0].shape[2:]
        levels = [maps[0]]
        levels += [
            functional.interpolate(each, size, mode="bilinear", align_corners=False)
            for each in maps[1:]
        ]
        logits: Tensor = self.head(torch.relu(self.norm(self.fuse(torch.cat(levels, 1)))))
        return logits
