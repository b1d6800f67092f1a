"""A convolutional network whose blocks work on tokens (Liu et al., ConvNeXt, 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class _MapNorm(nn.Module):
    """Layer normalisation over the channels of NCHW feature maps, as the authors write it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-6)
        return x.permute(0, 3, 1, 2)


class _Block(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.expand = nn.Linear(dim, 4 * dim)
        self.reduce = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        out = self.gamma * self.reduce(functional.gelu(self.expand(out)))
        return x + out.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """(batch, 3, height, width) to logits.

    Args:
        dims: Channels of each stage.
        depths: Blocks of each stage.
        classes: Number of logits.
    """

    def __init__(self, dims: Sequence[int], depths: Sequence[int], classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, dims[0], 4, 4), _MapNorm(dims[0])]
        for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            if stage:
                layers += [_MapNorm(dims[stage - 1]), nn.Conv2d(dims[stage - 1], dim, 2, 2)]
            layers += [_Block(dim) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], classes)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (batch, classes)."""
        logits: Tensor = self.head(self.norm(self.layers(image).mean((-2, -1))))
        return logits
