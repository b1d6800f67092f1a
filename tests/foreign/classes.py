"""Slide attentions as other projects may write them: the same parts, with other interfaces."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support import randomise


class ForeignAttention(nn.Module):
    """Input and output are (batch, C, H, W). Subclasses override the methods that differ."""

    def __init__(
        self,
        dim: int = 12,
        heads: int = 3,
        kernel: int = 3,
        *,
        scale: float | None = None,
        mode: str = "zeros",
        table: bool = True,
        reduction: int = 1,
        share_qkv: bool = False,
        own_values: bool = False,
        bias: bool = True,
        by_head: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.kernel, self.by_head = heads, kernel, by_head
        self.inner = dim // reduction
        self.d = self.inner // heads
        self.parts = 1 if share_qkv else 3
        self.scale = scale or (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, self.parts * self.inner, bias=bias)
        self.proj = nn.Linear(self.inner, dim)
        self.dep_conv, self.dep_conv1 = self.branch(mode), self.branch(mode)
        if own_values:
            self.dep_conv2 = self.branch(mode)
        self.table = nn.Parameter(torch.zeros(heads, kernel**2)) if table else None
        self.drop = nn.Dropout(0.3)

    def branch(self, mode: str) -> nn.Conv2d:
        k = self.kernel
        return nn.Conv2d(
            self.d, self.d * k * k, k, padding=k // 2, groups=self.d, padding_mode=mode
        )

    def around(self, maps: Tensor, values: bool) -> Tensor:
        own = self.dep_conv2 if values and hasattr(self, "dep_conv2") else self.dep_conv1
        return self.dep_conv(maps) + own(maps)

    def queries(self, q: Tensor) -> Tensor:
        return q * self.scale

    def weights(self, logits: Tensor, height: int, width: int) -> Tensor:
        return logits.softmax(-3)

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, N, parts * inner) to three of (batch, head, d, N)."""
        batch, count, _ = rows.shape
        order = (3, 0, 2, 4, 1) if self.by_head else (2, 0, 3, 4, 1)
        sizes = (self.heads, self.parts) if self.by_head else (self.parts, self.heads)
        parts = rows.reshape(batch, count, *sizes, self.d).permute(*order)
        return parts[0], parts[-2] if self.parts == 3 else parts[0], parts[-1]

    def core(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, count, _ = tokens.shape
        q, k, v = self.split(self.qkv(tokens))
        maps = (batch * self.heads, self.d, height, width)
        wide = (batch, self.heads, self.d, self.kernel**2, height, width)
        keys = self.around(k.reshape(maps), False).reshape(wide)
        values = self.around(v.reshape(maps), True).reshape(wide)
        if self.table is not None:
            keys = keys + self.table[None, :, None, :, None, None]
        q = self.queries(q).reshape(batch, self.heads, self.d, 1, height, width)
        weights = self.weights((q * keys).sum(2), height, width)
        out = (self.drop(weights).unsqueeze(2) * values).sum(3)
        return self.drop(self.proj(out.reshape(batch, self.inner, count).transpose(1, 2)))

    def on_maps(self, maps: Tensor) -> Tensor:
        tokens = self.core(maps.flatten(2).transpose(1, 2), *maps.shape[2:])
        return tokens.transpose(1, 2).reshape(maps.shape)

    def forward(self, x: Tensor) -> Any:
        return self.on_maps(x)


class Tuple(ForeignAttention):
    def forward(self, x: Tensor, reference: Tensor | None = None) -> Any:
        return self.on_maps(x), None, None


class ChannelsLast(ForeignAttention):
    def forward(self, x: Tensor) -> Any:
        return self.on_maps(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class TokensAndSize(ForeignAttention):
    def forward(self, x: Tensor, H: int, W: int) -> Any:  # noqa: N803
        assert x.shape[1] == H * W and x.ndim == 3
        return self.core(x, H, W)


class WidthFirst(ForeignAttention):
    def forward(self, x: Tensor, w: int, h: int) -> Any:
        assert x.ndim == 3
        return self.core(x, h, w)


class TokensAndPair(ForeignAttention):
    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Any:
        assert x.ndim == 3
        return self.core(x, *hw_shape), None


class SizeAttributes(ForeignAttention):
    """The model around it sets H and W before each call."""

    H = W = None

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.H: int | None = None
        self.W: int | None = None

    def forward(self, x: Tensor) -> Any:
        assert x.ndim == 3
        assert self.H is not None and self.W is not None
        return self.core(x, self.H, self.W)


class Resolution(ForeignAttention):
    """The size is fixed at construction. A buffer of that size rules out any other."""

    def __init__(self, *args: Any, resolution: Any = (7, 5), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.input_resolution = resolution
        height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
        self.register_buffer("ones", torch.ones(1, height * width, 1))

    def forward(self, x: Tensor) -> Any:
        assert x.ndim == 3
        size = self.input_resolution
        height, width = (size, size) if isinstance(size, int) else size
        return self.core(x * self.ones, height, width)


class SquareTokens(ForeignAttention):
    def forward(self, x: Tensor) -> Any:
        assert x.ndim == 3
        side = math.isqrt(x.shape[1])
        return self.core(x, side, side)


class Renamed(ForeignAttention):
    """No part has its published name, and projections are convolutions."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.copying, self.learned = self.dep_conv, self.dep_conv1
        self.into = nn.Conv2d(self.qkv.in_features, self.qkv.out_features, 1)
        self.back = nn.Conv2d(self.proj.in_features, self.proj.out_features, 1)
        self.rpe = nn.Parameter(self.table[None, :, None, :, None, None].detach().clone())
        del self.dep_conv, self.dep_conv1, self.qkv, self.proj, self.table

    def around(self, maps: Tensor, values: bool) -> Tensor:
        return self.learned(maps) + self.copying(maps)

    def forward(self, x: Tensor) -> Any:
        batch, _, height, width = x.shape
        q, k, v = self.split(self.into(x).flatten(2).transpose(1, 2))
        maps = (batch * self.heads, self.d, height, width)
        wide = (batch, self.heads, self.d, self.kernel**2, height, width)
        keys, values = (self.around(each.reshape(maps), True).reshape(wide) for each in (k, v))
        q = self.queries(q).reshape(batch, self.heads, self.d, 1, height, width)
        weights = (q * (keys + self.rpe)).sum(2).softmax(2)
        return self.back((weights.unsqueeze(2) * values).sum(3).reshape(x.shape))


class InSequential(ForeignAttention):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.branches = nn.Sequential(nn.Sequential(self.dep_conv), self.dep_conv1)
        del self.dep_conv, self.dep_conv1

    def around(self, maps: Tensor, values: bool) -> Tensor:
        return self.branches[0](maps) + self.branches[1](maps)


class PadsItself(ForeignAttention):
    """Pads its input explicitly. The convolutions have no padding."""

    def branch(self, mode: str) -> nn.Conv2d:
        return nn.Conv2d(self.d, self.d * self.kernel**2, self.kernel, groups=self.d)

    def around(self, maps: Tensor, values: bool) -> Tensor:
        padded = functional.pad(maps, [self.kernel // 2] * 4, mode="reflect")
        return self.dep_conv(padded) + self.dep_conv1(padded)


class Temperature(ForeignAttention):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.sharpness = nn.Parameter(torch.zeros(self.heads, 1, 1, 1))

    def weights(self, logits: Tensor, height: int, width: int) -> Tensor:
        return (logits * (1.5 + self.sharpness)).softmax(2)


class FixedTemperature(ForeignAttention):
    def weights(self, logits: Tensor, height: int, width: int) -> Tensor:
        return (logits / 1.5).softmax(2)


class MaskedBorders(ForeignAttention):
    def weights(self, logits: Tensor, height: int, width: int) -> Tensor:
        ones = torch.ones(1, 1, height, width, dtype=logits.dtype)
        inside = functional.unfold(ones, self.kernel, padding=self.kernel // 2)
        outside = inside.reshape(1, 1, -1, height, width) == 0
        return logits.masked_fill(outside, -math.inf).softmax(2)


class LimitedLogits(ForeignAttention):
    """Differs only for large logits, which small inputs do not give."""

    def weights(self, logits: Tensor, height: int, width: int) -> Tensor:
        return logits.clamp(-30, 30).softmax(2)


class NormalisedQueries(ForeignAttention):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.q_norm = nn.LayerNorm(self.d)

    def queries(self, q: Tensor) -> Tensor:
        return self.q_norm(q.transpose(2, 3)).transpose(2, 3) * self.scale


class BiasOnLogits(ForeignAttention):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.logit_bias, self.table = self.table, None

    def weights(self, logits: Tensor, height: int, width: int) -> Tensor:
        return (logits + self.logit_bias[None, :, :, None, None]).softmax(2)


class NeedsMore(ForeignAttention):
    def forward(self, x: Tensor, H: int, W: int, mask: Tensor) -> Any:  # noqa: N803
        return self.core(x, H, W) * mask


class AlwaysFails(ForeignAttention):
    def forward(self, x: Tensor) -> Any:
        raise RuntimeError("only with our kernel")


class ReturnsMore(ForeignAttention):
    def forward(self, x: Tensor) -> Any:
        return self.on_maps(x), x


class FourBranches(ForeignAttention):
    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.dep_conv2, self.dep_conv3 = self.branch("zeros"), self.branch("zeros")

    def around(self, maps: Tensor, values: bool) -> Tensor:
        if values:
            return self.dep_conv2(maps) + self.dep_conv3(maps)
        return self.dep_conv(maps) + self.dep_conv1(maps)


class WithoutProjections(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dep_conv = nn.Conv2d(4, 36, 3, padding=1, groups=4)
        self.dep_conv1 = nn.Conv2d(4, 36, 3, padding=1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.dep_conv(x) + self.dep_conv1(x)


def drawn(layer: nn.Module, seed: int = 0) -> Any:
    """Randomise every parameter, and set the shift branch of ``Renamed`` near a shift."""
    from slide_deploy.folding.formulas import shift_kernel

    randomise(layer, seed)
    with torch.no_grad():
        if isinstance(layer, Renamed):
            layer.copying.weight.copy_(shift_kernel(layer.d, layer.kernel))
            layer.copying.weight[3] += 0.2
    return layer.eval()
