"""Golden attentions with known outputs, in classes that are not of this project."""

import json
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from tests.foreign.classes import Tuple
from tests.support import GOLDEN


class Nameless(nn.Module):
    """The same weights as parameters with meaningless names, used by functions, without layers."""

    def __init__(self, layer: Tuple) -> None:
        super().__init__()
        self.m, self.n, self.o = layer.heads, layer.kernel, layer.scale
        state = layer.state_dict()
        self.a, self.b = nn.Parameter(state["qkv.weight"]), state.get("qkv.bias")
        self.c, self.d = nn.Parameter(state["proj.weight"]), nn.Parameter(state["proj.bias"])
        names = [name for name in ("dep_conv", "dep_conv1", "dep_conv2") if hasattr(layer, name)]
        self.e = nn.ParameterList(state[f"{name}.weight"] for name in names)
        self.f = nn.ParameterList(state[f"{name}.bias"] for name in names)
        self.register_buffer("g", state.get("table"))

    def near(self, maps: Tensor, branches: tuple[int, int]) -> Tensor:
        inner = maps.shape[1] // self.m
        maps = maps.unflatten(1, (self.m, inner)).flatten(0, 1)
        radius = self.n // 2
        return sum(
            functional.conv2d(maps, self.e[i], self.f[i], padding=radius, groups=inner)
            for i in branches
        ).unflatten(1, (inner, -1))

    def forward(self, x: Tensor) -> Tensor:
        rows = functional.conv2d(x, self.a[..., None, None], self.b)
        parts = 3 if len(self.a) == 3 * self.c.shape[1] else 1
        # (batch, head, q|k|v, d, H, W) to maps of q, k and v
        split = rows.unflatten(1, (self.m, parts, -1))
        q, k, v = (split[:, :, min(i, parts - 1)].flatten(1, 2) for i in range(3))
        keys = self.near(k, (1, 0))  # (batch * head, d, offset, H, W)
        values = self.near(v, (len(self.e) - 1, 0))
        if self.g is not None:
            keys = keys + self.g.repeat(len(x), 1)[:, None, :, None, None]
        q = q.unflatten(1, (self.m, -1)).flatten(0, 1)
        weights = torch.softmax(torch.einsum("bdyx,bdpyx->bpyx", q, keys) * self.o, dim=1)
        out = torch.einsum("bpyx,bdpyx->bdyx", weights, values)
        return functional.conv2d(
            out.unflatten(0, (len(x), -1)).flatten(1, 2), self.c[..., None, None], self.d
        )


class Residual(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        output = self.layer(x)
        return x + (output[0] if isinstance(output, tuple) else output)


def golden(name: str) -> tuple[Tuple, Tensor, Tensor]:
    """Return a foreign layer with the weights of a golden, an input and the known output."""
    settings: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    layer = Tuple(
        settings["dim"],
        settings["num_heads"],
        settings["ka"],
        table=settings["rpb"],
        reduction=settings["dim_reduction"],
        share_qkv=settings["share_qkv"],
        own_values=not settings["share_dwc_kernel"],
        bias=settings["qkv_bias"],
    )
    state = {
        key.removeprefix("state."): value
        for key, value in tensors.items()
        if key.startswith("state.")
    }
    if settings["rpb"]:
        table = state.pop("relative_position_bias_table")
        state["table"] = table.reshape(settings["num_heads"], -1)
    layer.load_state_dict(state)
    return layer, tensors["input"], tensors["output"]
