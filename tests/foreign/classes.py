"""Slide attentions as other projects write them: on maps or tokens, with parts of their own."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support import randomise


class Theirs(nn.Module):
    """On maps, as the models that carry the module have it; what it answers is ``answer``."""

    def __init__(
        self,
        dim: int = 12,
        num_heads: int = 3,
        ka: int = 3,
        qk_scale: float | None = None,
        padding_mode: str = "zeros",
        dim_reduction: int = 1,
        share_dwc_kernel: bool = True,
        share_qkv: bool = False,
        rpb: bool = True,
    ) -> None:
        super().__init__()
        self.dim, self.num_heads, self.ka = dim, num_heads, ka
        self.scale = qk_scale or (dim // num_heads) ** -0.5
        self.parts = 1 if share_qkv else 3
        self.inner = dim // dim_reduction
        d = self.inner // num_heads
        self.qkv = nn.Linear(dim, self.parts * self.inner)
        self.proj = nn.Linear(self.inner, dim)
        branch: dict[str, Any] = {
            "kernel_size": ka,
            "padding": ka // 2,
            "groups": d,
            "padding_mode": padding_mode,
        }
        self.dep_conv = nn.Conv2d(d, d * ka**2, **branch)
        self.dep_conv1 = nn.Conv2d(d, d * ka**2, **branch)
        if not share_dwc_kernel:
            self.dep_conv2 = nn.Conv2d(d, d * ka**2, **branch)
        if rpb:
            table = torch.zeros(1, num_heads, 1, ka**2, 1, 1)
            self.relative_position_bias_table = nn.Parameter(table)
        self.attn_drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.attend(x))

    def answer(self, maps: Tensor) -> Any:
        return maps, None, None

    def branches(self, maps: Tensor, deformed: nn.Module) -> Tensor:
        return self.dep_conv(maps) + deformed(maps)

    def shares(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=3)

    def split(self, x: Tensor) -> list[Tensor]:
        """q, k and v, each (batch * head, d, H, W)."""
        batch, _, height, width = x.shape
        qkv = self.qkv(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        qkv = qkv.reshape(batch * self.num_heads, self.parts, -1, height, width)
        return [qkv[:, part % self.parts] for part in range(3)]

    def attend(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q, k, v = self.split(x)
        d, offsets = q.shape[1], self.ka**2
        of_values = getattr(self, "dep_conv2", getattr(self, "dep_conv1", None))
        shape = (batch, self.num_heads, d, offsets, height, width)
        keys = self.branches(k, getattr(self, "dep_conv1", nn.Identity())).reshape(shape)
        values = self.branches(v, of_values or nn.Identity()).reshape(shape)
        if hasattr(self, "relative_position_bias_table"):
            keys = keys + self.relative_position_bias_table
        q = q.reshape(batch, self.num_heads, d, 1, height, width) * self.scale
        attention = self.attn_drop(self.shares((q * keys).sum(dim=2, keepdim=True)))
        out = (attention * values).sum(dim=3).reshape(batch, -1, height, width)
        return self.proj(out.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MapAlone(Theirs):
    def answer(self, maps: Tensor) -> Tensor:
        return maps


class Pair(Theirs):
    def answer(self, maps: Tensor) -> Any:
        return maps, None


class Renamed(MapAlone):
    """Branches, table and projections of other names; rows of the projection are (q|k|v, head, d);
    projections are convolutions."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.copying, self.learned = self.dep_conv, self.dep_conv1
        self.bias_of_places = self.relative_position_bias_table
        self.to_qkv = nn.Conv2d(self.dim, 3 * self.inner, 1, bias=False)
        self.to_out = nn.Conv2d(self.inner, self.dim, 1)
        del self.dep_conv, self.dep_conv1, self.qkv, self.proj, self.relative_position_bias_table

    def split(self, x: Tensor) -> list[Tensor]:
        batch, _, height, width = x.shape
        parts = self.to_qkv(x).chunk(3, dim=1)
        return [part.reshape(batch * self.num_heads, -1, height, width) for part in parts]

    def branches(self, maps: Tensor, deformed: nn.Module) -> Tensor:
        out = self.learned(maps) + self.copying(maps)
        table = self.bias_of_places.reshape(1, self.num_heads, 1, -1, 1, 1)
        # The table goes to the keys only: the second call is for the values.
        self.calls = 1 - getattr(self, "calls", 0)
        if not self.calls:
            return out
        height, width = maps.shape[2:]
        out = out.reshape(-1, self.num_heads, maps.shape[1], self.ka**2, height, width) + table
        return out.reshape(-1, maps.shape[1] * self.ka**2, height, width)

    def proj(self, maps: Tensor) -> Tensor:
        return self.to_out(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class InSequential(MapAlone):
    """The branches in a list."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.both = nn.Sequential(self.dep_conv, self.dep_conv1)
        del self.dep_conv, self.dep_conv1

    def branches(self, maps: Tensor, deformed: nn.Module) -> Tensor:
        return self.both[0](maps) + self.both[1](maps)


class PadsItself(MapAlone):
    """Convolutions without padding, on maps that were padded before."""

    def branches(self, maps: Tensor, deformed: nn.Module) -> Tensor:
        around = functional.pad(maps, [self.ka // 2] * 4, mode="replicate")
        return sum(
            functional.conv2d(around, conv.weight, conv.bias, groups=conv.groups)
            for conv in (self.dep_conv, deformed)
        )

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.dep_conv.padding = self.dep_conv1.padding = (0, 0)


class Temperature(Theirs):
    def shares(self, logits: Tensor) -> Tensor:
        return (logits / 0.7).softmax(dim=3)


class MaskedBorders(Theirs):
    """Neighbours outside the map get no share."""

    def shares(self, logits: Tensor) -> Tensor:
        height, width = logits.shape[-2:]
        inside = functional.unfold(torch.ones(1, 1, height, width), self.ka, padding=self.ka // 2)
        mask = (inside - 1) * 1e4
        return (logits + mask.reshape(1, 1, 1, -1, height, width)).softmax(dim=3)


class ClampedLogits(Theirs):
    def shares(self, logits: Tensor) -> Tensor:
        return logits.clamp(max=5.0).softmax(dim=3)


class Crashes(Theirs):
    def forward(self, x: Tensor) -> Any:
        raise RuntimeError("needs a process group")


class MoreThanAMap(Theirs):
    def answer(self, maps: Tensor) -> Any:
        return maps, maps.mean()


class WithArguments(Theirs):
    """On tokens, whose height and width are arguments."""

    def forward(self, x: Tensor, H: int, W: int) -> Tensor:  # noqa: N803
        maps = x.transpose(1, 2).reshape(x.shape[0], -1, H, W)
        return self.attend(maps).flatten(2).transpose(1, 2)


class WithSize(Theirs):
    """On tokens, with one argument for both."""

    def forward(self, x: Tensor, hw_shape: tuple[int, int], identity: Any = None) -> Tensor:
        return WithArguments.forward(self, x, *hw_shape)  # type: ignore[arg-type]


class WithAttributes(Theirs):
    """On tokens, whose height and width the model sets before each call."""

    def forward(self, x: Tensor) -> Tensor:
        return WithArguments.forward(self, x, self.H, self.W)  # type: ignore[arg-type]

    H, W = 0, 0


class OfOneSize(WithAttributes):
    """On tokens of a map whose size is built in."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.input_resolution = (6, 9)
        self.register_buffer("ones", torch.ones(1, 54, 1))

    def forward(self, x: Tensor) -> Tensor:
        return WithArguments.forward(self, x * self.ones, *self.input_resolution)  # type: ignore


class OfSquares(Theirs):
    def forward(self, x: Tensor) -> Tensor:
        side = int(x.shape[1] ** 0.5)
        return WithArguments.forward(self, x, side, side)  # type: ignore[arg-type]


class ChannelsLast(Theirs):
    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def trained(layer: type[Theirs], seed: int = 0, **settings: Any) -> nn.Module:
    """A layer with random weights."""
    return randomise(layer(**settings), seed)
