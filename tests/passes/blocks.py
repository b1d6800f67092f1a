"""Blocks of convolutions with parallel branches, written from the formulas of their papers.

Each block is one linear function of its input, so that it folds to one convolution. Layers get
random numbers, running statistics included.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """A module with random weights and statistics, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if not tensor.is_floating_point():
                continue
            draw = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                draw = 0.5 + draw.abs()
            elif tensor.ndim > 1:
                draw = draw / tensor[0].numel() ** 0.5
            tensor.copy_(draw)
    return module.eval().requires_grad_(False)


def conv_bn(
    inputs: int, outputs: int, size: int | Sequence[int], *, axes: int = 2, **settings: object
) -> nn.Sequential:
    """A convolution without bias that keeps the size, and a batch normalisation."""
    sizes = (size,) * axes if isinstance(size, int) else tuple(size)
    step = int(settings.get("dilation", 1))  # type: ignore[call-overload]
    settings.setdefault("padding", tuple(step * (each // 2) for each in sizes))
    conv = CONVS[axes](inputs, outputs, sizes, bias=False, **settings)
    return nn.Sequential(conv, NORMS[axes](outputs))


class Added(nn.Module):
    """A sum of branches."""

    def __init__(self, branches: Iterable[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)  # type: ignore[return-value]


def rep_vgg(dim: int = 8, outputs: int = 8, *, axes: int = 2, stride: int = 1, groups: int = 1):
    """Ding et al., 2021: 3x3, 1x1 and the input itself, each with a batch normalisation."""
    settings = {"axes": axes, "stride": stride, "groups": groups}
    branches = [conv_bn(dim, outputs, size, **settings) for size in (3, 1)]
    if stride == 1 and dim == outputs:
        branches.append(NORMS[axes](dim))
    return Added(branches)


def mobile_one(dim: int = 8, outputs: int = 8, *, size: int = 3, groups: int = 1, stride: int = 1):
    """Vasu et al., 2022: several copies of the kernel, one 1x1 and the input itself."""
    branches = [conv_bn(dim, outputs, size, groups=groups, stride=stride) for _ in range(4)]
    if size > 1:
        branches.append(conv_bn(dim, outputs, 1, groups=groups, stride=stride))
    if stride == 1 and dim == outputs:
        branches.append(nn.BatchNorm2d(dim))
    return Added(branches)


class MobileOneBlock(nn.Module):
    """Depthwise 3x3, then pointwise, each followed by an activation."""

    def __init__(self, dim: int = 8, outputs: int = 8) -> None:
        super().__init__()
        self.depthwise = mobile_one(dim, dim, groups=dim)
        self.pointwise = mobile_one(dim, outputs, size=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x).relu()).relu()


def ac_net(dim: int = 8, outputs: int = 8, size: int = 3):
    """Ding et al., 2019: a square kernel with a row and a column beside it."""
    return Added(conv_bn(dim, outputs, each) for each in (size, (1, size), (size, 1)))


class RepConv(nn.Module):
    """Wang et al., 2022: as RepVGG, but without the input itself inside a sum."""

    def __init__(self, dim: int = 8, outputs: int = 8, groups: int = 1) -> None:
        super().__init__()
        self.dense = conv_bn(dim, outputs, 3, groups=groups)
        self.point = conv_bn(dim, outputs, 1, groups=groups)
        self.identity = nn.BatchNorm2d(dim) if dim == outputs else None

    def forward(self, x: Tensor) -> Tensor:
        identity = 0 if self.identity is None else self.identity(x)
        return self.dense(x) + self.point(x) + identity


class ELan(nn.Module):
    """E-ELAN: stacked convolutions whose outputs are concatenated, followed by RepConv."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.first, self.second = conv_bn(dim, dim, 1), conv_bn(dim, dim, 1)
        self.stack = nn.ModuleList(RepConv(dim, dim) for _ in range(2))
        self.last = RepConv(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        values = [functional.silu(self.first(x)), functional.silu(self.second(x))]
        for layer in self.stack:
            values.append(functional.silu(layer(values[-1])))
        return self.last(torch.cat(values, 1))


class RepMixer(nn.Module):
    """Vasu et al., 2023: ``x + scale (mixer(x) - norm(x))``."""

    def __init__(self, dim: int = 8, size: int = 3, has_scale: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.mixer = mobile_one(dim, dim, size=size, groups=dim)
        self.scale = nn.Parameter(torch.ones(dim, 1, 1)) if has_scale else None

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mixer(x) - self.norm(x)
        return x + (mixed if self.scale is None else self.scale * mixed)


def large_kernel(dim: int = 8, size: int = 13, small: int = 5, stride: int = 1):
    """Ding et al., 2022 (RepLKNet): a large depthwise kernel with a small one beside it."""
    return Added(conv_bn(dim, dim, each, groups=dim, stride=stride) for each in (size, small))


class DilatedReparam(nn.Module):
    """Ding et al., 2023 (UniRepLKNet): a large depthwise kernel, small dilated ones beside it."""

    SMALL = ((5, 1), (5, 2), (3, 3), (3, 4))

    def __init__(self, dim: int = 8, size: int = 11) -> None:
        super().__init__()
        self.large = conv_bn(dim, dim, size, groups=dim)
        self.small = nn.ModuleList(
            conv_bn(dim, dim, each, groups=dim, dilation=step) for each, step in self.SMALL
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.large(x)
        for each in self.small:
            out = out + each(x)
        return out


class DiverseBranch(nn.Module):
    """Ding et al., 2021 (DBB): k x k, 1x1, 1x1 before k x k, 1x1 before average pooling.

    Zeros go around the input, before the 1x1.
    """

    def __init__(self, dim: int = 8, outputs: int = 8, size: int = 3, groups: int = 1) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d(size // 2)
        self.origin = conv_bn(dim, outputs, size, groups=groups)
        self.point = conv_bn(dim, outputs, 1, groups=groups)
        self.chain = nn.Sequential(
            conv_bn(dim, dim, 1, groups=groups),
            conv_bn(dim, outputs, size, groups=groups, padding=0),
        )
        self.average = nn.Sequential(
            conv_bn(dim, outputs, 1, groups=groups),
            nn.AvgPool2d(size, 1),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        around = self.pad(x)
        return self.origin(x) + self.point(x) + self.chain(around) + self.average(around)
