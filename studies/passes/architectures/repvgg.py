"""A convolutional network that is trained with parallel branches (Ding et al., RepVGG, 2021).

This is the training form. Merging the branches is left to the export.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _normalised(before: int, after: int, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after))


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.dense = _normalised(before, after, 3, stride)
        self.pointwise = _normalised(before, after, 1, stride)
        alike = before == after and stride == 1
        self.identity = nn.BatchNorm2d(after) if alike else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.dense(x) + self.pointwise(x)
        if self.identity is not None:
            out = out + self.identity(x)
        return torch.relu(out)


class RepVGG(nn.Module):
    """(batch, 3, height, width) to logits.

    Args:
        stem: Channels after the first block.
        dims: Channels of each stage.
        depths: Blocks of each stage. The first one halves the resolution.
        classes: Number of logits.
    """

    def __init__(self, stem: int, dims: Sequence[int], depths: Sequence[int], classes: int) -> None:
        super().__init__()
        blocks = [_Block(3, stem, 2)]
        before = stem
        for dim, depth in zip(dims, depths, strict=True):
            for index in range(depth):
                blocks.append(_Block(before, dim, 1 if index else 2))
                before = dim
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(before, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (batch, classes)."""
        logits: Tensor = self.head(self.pool(self.blocks(image)).flatten(1))
        return logits
