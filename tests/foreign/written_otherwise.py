"""Slide attentions that neither names nor shapes identify, readable only by tracing."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

from slide_deploy.folding.formulas import shift_kernel
from tests.foreign.classes import ForeignAttention


class Functional(nn.Module):
    """All weights are parameters of the layer itself, without layers inside."""

    def __init__(self, dim: int = 12, heads: int = 3, kernel: int = 3) -> None:
        super().__init__()
        self.heads, self.k, self.d = heads, kernel, dim // heads
        outputs = self.d * kernel**2
        self.w_in, self.b_in = (
            nn.Parameter(torch.zeros(3 * dim, dim)),
            nn.Parameter(torch.zeros(3 * dim)),
        )
        self.w_out = nn.Parameter(torch.zeros(dim, dim))
        self.register_buffer("still", shift_kernel(self.d, kernel))
        self.moving = nn.Parameter(torch.zeros(outputs, 1, kernel, kernel))
        self.moving_bias = nn.Parameter(torch.zeros(outputs))
        self.places = nn.Parameter(torch.zeros(kernel**2, heads))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows = functional.linear(x.permute(0, 2, 3, 1), self.w_in, self.b_in)
        q, k, v = rows.permute(0, 3, 1, 2).chunk(3, 1)
        sides = []
        for side in (k, v):
            maps = side.reshape(batch * self.heads, self.d, height, width)
            near = functional.conv2d(maps, self.still, None, 1, self.k // 2, groups=self.d)
            near = near + functional.conv2d(
                maps, self.moving, self.moving_bias, padding=self.k // 2, groups=self.d
            )
            sides.append(near.reshape(batch, self.heads, self.d, self.k**2, height, width))
        q = q.reshape(batch, self.heads, self.d, height, width) / math.sqrt(self.d)
        keys = sides[0] + self.places.t().reshape(1, self.heads, 1, -1, 1, 1)
        weights = torch.einsum("bhdyx,bhdpyx->bhpyx", q, keys).softmax(2)
        out = torch.einsum("bhpyx,bhdpyx->bhdyx", weights, sides[1])
        out = out.reshape(batch, channels, height, width)
        return torch.einsum("bcyx,oc->boyx", out, self.w_out)


class InDicts(nn.Module):
    """Parameters in a dict and a list, and one convolution for each of q, k and v."""

    def __init__(self, dim: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.heads, self.d = heads, dim // heads
        self.kernels = nn.ParameterDict(
            {"a": torch.zeros(9 * self.d, 1, 3, 3), "b": torch.zeros(9 * self.d, 1, 3, 3)}
        )
        self.matrices = nn.ParameterList([torch.zeros(dim, dim, 1, 1) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q, k, v = (functional.conv2d(x, matrix) for matrix in list(self.matrices)[:3])
        wide = (batch, self.heads, self.d, 9, height, width)
        keys, values = (
            sum(
                functional.conv2d(
                    side.reshape(-1, self.d, height, width), kernel, padding=1, groups=self.d
                )
                for kernel in self.kernels.values()
            ).reshape(wide)
            for side in (k, v)
        )
        q = q.reshape(batch, self.heads, self.d, 1, height, width)
        weights = (0.4 * (q * keys).sum(2)).softmax(2).unsqueeze(2)
        return functional.conv2d((weights * values).sum(3).reshape(x.shape), self.matrices[3])


class Neighbours(nn.Module):
    """A branch that pads explicitly and ends in a normalisation."""

    def __init__(self, d: int, kernel: int, mode: str = "constant") -> None:
        super().__init__()
        self.radius, self.mode = kernel // 2, mode
        self.body = nn.Sequential(
            nn.Conv2d(d, d * kernel**2, kernel, groups=d, bias=False),
            nn.BatchNorm2d(d * kernel**2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(functional.pad(x, [self.radius] * 4, mode=self.mode))


class Wrapped(ForeignAttention):
    """Branches are modules of their own."""

    def branch(self, mode: str) -> Any:
        return Neighbours(self.d, self.kernel, mode if mode != "zeros" else "constant")


class Both(nn.Module):
    """Both branches in one module, with a per-channel factor on the second."""

    def __init__(self, first: nn.Module, second: nn.Module, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Sequential(first, nn.BatchNorm2d(outputs)), second
        self.gain = nn.Parameter(torch.ones(1, outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.gain * self.second(x)


class InOneModule(ForeignAttention):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.near = Both(self.dep_conv, self.dep_conv1, self.d * self.kernel**2)
        del self.dep_conv, self.dep_conv1

    def around(self, maps: Tensor, values: bool) -> Tensor:
        return self.near(maps)


class Separate(ForeignAttention):
    """Separate projections of queries, keys and values."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        dim, bias = self.qkv.in_features, self.qkv.bias is not None
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, self.inner, bias=bias) for _ in range(3))
        del self.qkv

    def core(self, tokens: Tensor, height: int, width: int) -> Tensor:
        self.qkv = lambda x: torch.cat([self.to_q(x), self.to_k(x), self.to_v(x)], -1)
        self.by_head = False
        try:
            return super().core(tokens, height, width)
        finally:
            del self.qkv


class Side(nn.Module):
    """A projection and its branches."""

    def __init__(self, layer: ForeignAttention) -> None:
        super().__init__()
        self.project = nn.Conv2d(layer.qkv.in_features, layer.inner, 1)
        self.one, self.other = layer.branch("zeros"), layer.branch("zeros")
        self.heads, self.d, self.offsets = layer.heads, layer.d, layer.kernel**2

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        maps = self.project(x).reshape(batch * self.heads, self.d, height, width)
        near = self.one(maps) + self.other(maps)
        return near.reshape(batch, self.heads, self.d, self.offsets, height, width)


class Sides(ForeignAttention):
    """Keys and values are separate modules, each with a projection."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.keys, self.values = Side(self), Side(self)
        self.query = nn.Conv2d(self.qkv.in_features, self.inner, 1)
        del self.qkv, self.dep_conv, self.dep_conv1

    def on_maps(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q = self.query(x).reshape(batch, self.heads, self.d, 1, height, width)
        keys = self.keys(x) + self.table[None, :, None, :, None, None]
        weights = self.weights((q * keys).sum(2), height, width).unsqueeze(2)
        out = (weights * self.values(x)).sum(3).reshape(batch, self.inner, -1)
        return self.proj(out.transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class IndexedTable(ForeignAttention):
    """The position bias is an embedding looked up by an index."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        offsets = self.kernel**2
        self.embedding = nn.Embedding(offsets, self.heads)
        self.register_buffer("index", torch.arange(offsets).flip(0))
        self.register_buffer("factor", torch.tensor(0.7))
        del self.table

    @property
    def table(self) -> Tensor:
        return self.embedding(self.index).t()

    def queries(self, q: Tensor) -> Tensor:
        return q * self.factor


class WeightNorm(ForeignAttention):
    """Weights are computed from other parameters on every call."""

    def __init__(self, *args: Any, old: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        norm = torch.nn.utils.weight_norm if old else parametrizations.weight_norm
        for layer in (self.dep_conv1, self.qkv):
            norm(layer)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


class Parametrised(ForeignAttention):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        parametrize.register_parametrization(self.dep_conv, "weight", Doubled())


class DropPath(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * torch.bernoulli(torch.full((len(x), 1, 1, 1), 0.8, device=x.device)) / 0.8


class Dropped(ForeignAttention):
    """Returns a list with constants after the output, which passes a DropPath."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.path = DropPath()

    def forward(self, x: Tensor) -> Any:
        return [self.path(self.on_maps(x)), None, 0.5]


class OneBranch(ForeignAttention):
    """An attention that has been folded already."""

    def __init__(self, *args: Any, renamed: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        del self.dep_conv1
        if renamed:
            self.near = self.dep_conv
            del self.dep_conv

    def around(self, maps: Tensor, values: bool) -> Tensor:
        return (self.near if hasattr(self, "near") else self.dep_conv)(maps)
