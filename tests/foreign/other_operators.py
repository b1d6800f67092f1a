"""Slide attentions with the usual parts but other operators, readable only by tracing."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.foreign.classes import ForeignAttention


class Matrices(ForeignAttention):
    """One matmul per position, and a softmax over the last axis."""

    def __init__(self, *args: Any, fused: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.fused = fused

    def core(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, count, _ = tokens.shape
        q, k, v = self.split(self.qkv(tokens))
        maps = (batch * self.heads, self.d, height, width)
        wide = (batch, self.heads, self.d, self.kernel**2, count)
        keys = self.around(k.reshape(maps), False).reshape(wide)
        keys = (keys + self.table[None, :, None, :, None]).permute(0, 1, 4, 2, 3)
        values = self.around(v.reshape(maps), True).reshape(wide).permute(0, 1, 4, 3, 2)
        q = q.transpose(2, 3).unsqueeze(3)  # (batch, head, N, 1, d)
        if self.fused:
            out = functional.scaled_dot_product_attention(q, keys.transpose(3, 4), values)
        else:
            out = ((q @ keys) * self.scale).softmax(-1) @ values
        return self.proj(out.squeeze(3).transpose(1, 2).reshape(batch, count, self.inner))


class Unfolded(ForeignAttention):
    """The shift branch is an unfold."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        del self.dep_conv

    def around(self, maps: Tensor, values: bool) -> Tensor:
        near = functional.unfold(maps, self.kernel, padding=self.kernel // 2)
        return near.reshape(len(maps), -1, *maps.shape[2:]) + self.dep_conv1(maps)


class Sliced(Unfolded):
    """The shift branch stacks slices of a padded feature map."""

    def around(self, maps: Tensor, values: bool) -> Tensor:
        height, width = maps.shape[2:]
        padded = functional.pad(maps, [self.kernel // 2] * 4)
        near = [
            padded[:, :, row : row + height, column : column + width]
            for row in range(self.kernel)
            for column in range(self.kernel)
        ]
        return torch.stack(near, 2).flatten(1, 2) + self.dep_conv1(maps)


class Normalised(ForeignAttention):
    """A normalisation follows each projection, and a factor multiplies one branch."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        inputs, outputs = self.qkv.in_features, self.qkv.out_features
        self.into = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.back = nn.Sequential(nn.Conv2d(self.inner, inputs, 1), nn.BatchNorm2d(inputs))
        self.gain = nn.Parameter(torch.ones(1))
        del self.qkv, self.proj

    def around(self, maps: Tensor, values: bool) -> Tensor:
        return self.dep_conv(maps) + self.dep_conv1(maps) * self.gain

    def on_maps(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        q, k, v = self.split(self.into(x).flatten(2).transpose(1, 2))
        maps = (batch * self.heads, self.d, height, width)
        wide = (batch, self.heads, self.d, self.kernel**2, height * width)
        keys, values = (self.around(each.reshape(maps), True).reshape(wide) for each in (k, v))
        weights = (q.unsqueeze(3) * keys * self.scale).sum(2).softmax(2).unsqueeze(2)
        return self.back((weights * values).sum(3).reshape(batch, -1, height, width))


class ForEachHead(ForeignAttention):
    """Every head has its own kernels."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        outputs = self.inner * self.kernel**2
        self.dep_conv, self.dep_conv1 = (
            nn.Conv2d(self.inner, outputs, self.kernel, padding=1, groups=self.inner)
            for _ in range(2)
        )

    def around(self, maps: Tensor, values: bool) -> Tensor:
        whole = maps.unflatten(0, (-1, self.heads)).flatten(1, 2)
        near = self.dep_conv(whole) + self.dep_conv1(whole)
        return near.unflatten(1, (self.heads, -1)).flatten(0, 1)


class Together(ForeignAttention):
    """Keys and values go through the branches in one call."""

    def core(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, count, _ = tokens.shape
        q, k, v = self.split(self.qkv(tokens))
        maps = torch.cat([k, v]).reshape(2 * batch * self.heads, self.d, height, width)
        wide = (2 * batch, self.heads, self.d, self.kernel**2, count)
        keys, values = self.around(maps, False).reshape(wide).chunk(2)
        keys = keys + self.table[None, :, None, :, None]
        weights = ((self.queries(q).unsqueeze(3) * keys).sum(2)).softmax(2).unsqueeze(2)
        out = (weights * values).sum(3)
        return self.proj(out.reshape(batch, self.inner, count).transpose(1, 2))


class OffsetByOffset(ForeignAttention):
    """The logits of each offset are computed separately."""

    def core(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, count, _ = tokens.shape
        q, k, v = self.split(self.qkv(tokens))
        maps = (batch * self.heads, self.d, height, width)
        wide = (batch, self.heads, self.d, self.kernel**2, count)
        keys = self.around(k.reshape(maps), False).reshape(wide).unbind(3)
        values = self.around(v.reshape(maps), True).reshape(wide).unbind(3)
        logits = [
            (self.queries(q) * (key + self.table[None, :, None, p, None])).sum(2)
            for p, key in enumerate(keys)
        ]
        weights = torch.stack(logits, 2).softmax(2).unbind(2)
        out = sum(
            weight.unsqueeze(2) * value for weight, value in zip(weights, values, strict=True)
        )
        return self.proj(out.reshape(batch, self.inner, count).transpose(1, 2))


class SoftmaxInFloat32(ForeignAttention):
    """The softmax runs in float32, as in half-precision layers."""

    def weights(self, logits: Tensor, height: int, width: int) -> Tensor:
        return functional.softmax(logits.float(), dim=2, dtype=torch.float32).to(logits.dtype)


class TokensHeadLast(ForeignAttention):
    """Features come before heads in every tensor."""

    def core(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, count, _ = tokens.shape
        rows = self.qkv(tokens).reshape(batch, count, 3, self.d, self.heads)
        q, k, v = rows.permute(2, 0, 4, 3, 1)  # (batch, head, d, N) each
        maps = (batch * self.heads, self.d, height, width)
        wide = (batch, self.heads, self.d, self.kernel**2, count)
        keys = self.around(k.reshape(maps), False).reshape(wide)
        values = self.around(v.reshape(maps), True).reshape(wide)
        keys = (keys + self.table[None, :, None, :, None]).permute(0, 4, 3, 2, 1)
        q = self.queries(q).permute(0, 3, 2, 1).unsqueeze(2)  # (batch, N, 1, d, head)
        weights = (q * keys).sum(3).softmax(2).unsqueeze(3)
        out = (weights * values.permute(0, 4, 3, 2, 1)).sum(2)  # (batch, N, d, head)
        return self.proj(out.reshape(batch, count, self.inner))
