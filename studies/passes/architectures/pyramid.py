"""A residual network with a feature pyramid (He et al., 2016; Lin et al., 2017)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Block(nn.Module):
    def __init__(self, before: int, dim: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, dim, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != dim:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, dim, 1, stride, bias=False), nn.BatchNorm2d(dim)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class FeaturePyramid(nn.Module):
    """(batch, 3, height, width) to feature maps at strides 4, 8, 16 and 32.

    Args:
        dims: Channels of each stage of the residual network.
        depth: Blocks of each stage.
        width: Channels of each feature map.
    """

    def __init__(self, dims: Sequence[int], depth: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, dims[0], 7, 2, 3, bias=False),
            nn.BatchNorm2d(dims[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        self.stages = nn.ModuleList()
        before = dims[0]
        for dim in dims:
            stride = 1 if not len(self.stages) else 2
            blocks = [_Block(before, dim, stride), *(_Block(dim, dim, 1) for _ in range(1, depth))]
            self.stages.append(nn.Sequential(*blocks))
            before = dim
        self.lateral = nn.ModuleList(nn.Conv2d(dim, width, 1) for dim in dims)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in dims)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps, the largest first."""
        x = self.stem(image)
        maps = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            maps.append(lateral(x))
        for level in reversed(range(len(maps) - 1)):
            maps[level] = maps[level] + functional.interpolate(maps[level + 1], scale_factor=2.0)
        return [smooth(each) for smooth, each in zip(self.smooth, maps, strict=True)]
