"""Typical blocks of networks, and blocks that only resemble them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.passes.random_networks import parts
from tests.passes.random_networks.builder import Builder, Value

Part = Callable[[Builder, Value], Value]


def branch(b: Builder, x: Value, out: int, stride: int, groups: int) -> Value:
    """One branch of a block: nothing, or a convolution of any size that keeps the shape."""
    kinds = ["square", "point", "row", "dilated", "chain", "grouped"]
    if out == x.channels and stride == 1:
        kinds += ["identity", "identity", *(["pool"] if min(x.grid) > 2 else [])]
    kind = b.choose(kinds)
    if kind == "identity":
        return parts.batch_norm(b, x) if b.chance() else x
    if kind == "pool":
        return b.apply(parts.MEAN_POOLS[x.dims](3, 1, 1, count_include_pad=not b.chance(0.3)), x)
    if kind == "chain":  # the first has no padding: what comes between is linear throughout
        x = parts.pointwise(b, x, out)
        x = parts.batch_norm(b, x) if b.chance(0.3) else x
        x = parts.activation(b, x) if b.chance(0.2) else x
    kernel = [3] * x.dims
    if kind == "point":
        kernel = [1] * x.dims
    elif kind == "row":
        kernel[b.integer(0, x.dims - 1)] = 1
    elif b.chance(0.2):
        kernel = [5] * x.dims
    dilation = 2 if kind == "dilated" else 1
    padding = tuple(dilation * (side // 2) for side in kernel)
    if kind == "grouped":
        groups = 1 if x.channels % 2 or out % 2 else 2
    groups = groups if x.channels % groups == 0 and out % groups == 0 else 1
    modes = ("zeros",) * 8 + ("replicate",)
    layer = parts.CONVOLUTIONS[x.dims](
        *(x.channels, out, tuple(kernel), stride, padding, dilation, groups),
        bias=not b.chance(),
        padding_mode=b.choose(modes),
    )
    value = b.apply(b.trained(layer), x)
    if b.chance():
        value = parts.batch_norm(b, value)
    return parts.activation(b, value) if b.chance(0.1) else value


def parallel_branches(b: Builder, x: Value) -> Value:
    """A sum of convolutions of the same value, or of similar values."""
    out = x.channels if b.chance(0.6) else b.choose((4, 8))
    stride = b.choose((1, 1, 1, 2))
    groups = b.choose((1, 1, x.channels))
    found = [branch(b, x, out, stride, groups) for _ in range(b.integer(2, 4))]
    value = found[0]
    for each in found[1:]:
        if each.example.shape != value.example.shape:
            continue
        if b.chance(0.1):
            value = b.apply("sub", torch.sub, value, each)
        else:
            value = b.apply("add", torch.add, value, each)
    return value


def normalised_projections(b: Builder, x: Value) -> Value:
    """A normalisation that one or several projections read, or another operator."""
    normal = parts.layer_norm(b, x) if not b.chance(0.1) else parts.rms_norm(b, x)
    out = b.choose((x.channels, 8, 4))
    found = [parts.linear(b, normal, out) for _ in range(b.choose((1, 1, 2, 3)))]
    value = found[0]
    for each in found[1:]:
        value = b.apply("add", torch.add, value, each)
    if value.example.shape == normal.example.shape and b.chance(0.2):
        value = b.apply("add", torch.add, value, normal)
    return value


def multilayer(b: Builder, x: Value) -> Value:
    """Two projections with an activation in between, and a residual connection."""
    value = parts.layer_norm(b, x) if b.chance(0.7) else x
    value = parts.activation(b, parts.linear(b, value, b.choose((8, 16))))
    value = parts.linear(b, value, x.channels)
    if b.chance(0.2):  # a scale for each channel
        value = b.apply(
            "layer scale", parts.WithConstant(torch.mul, b.normal(x.channels), False), value
        )
    return b.apply("add", torch.add, x, value) if b.chance(0.8) else value


def read_in_part(b: Builder, x: Value) -> Value:
    """Two projections; a classifier reads the first or the last positions."""
    return parts.few_positions(b, multilayer(b, x))


def convolution_and_norm(b: Builder, x: Value) -> Value:
    """A convolution, a batch normalisation and an activation, in some order."""
    value = b.apply(
        b.trained(parts.CONVOLUTIONS[x.dims](x.channels, b.choose((8, 4, 6)), 3, padding=1)), x
    )
    value = parts.batch_norm(b, value)
    value = parts.activation(b, value)
    return parts.pointwise(b, value) if b.chance(0.3) else value


def pooled(b: Builder, x: Value) -> Value:
    """A typical pooling: to one position, or over adjacent cells."""
    if min(x.grid) < 2 or b.chance(0.3):
        return b.apply(parts.ADAPTIVE[x.dims](1), x)
    if b.chance(0.3):
        pool = parts.MAX_POOLS[x.dims]
        return b.apply("max pool by 2", lambda x: pool(x, 2), x)
    return b.apply(parts.MEAN_POOLS[x.dims](2), x)


def tokens_between_convolutions(b: Builder, x: Value) -> Value:
    """Channels-last operators between two convolutions, as in ConvNeXt and FastViT."""
    if b.chance(0.7):
        x = parts.convolution(b, x)
    value = parts.to_last(b, x) if b.chance(0.6) else parts.to_tokens(b, x)
    choices: tuple[Part, ...] = (
        *(multilayer, parts.layer_norm, normalised_projections, parts.linear, parts.activation),
        *(parts.with_constant, parts.with_number, parts.with_value),
    )
    for _ in range(b.integer(1, 4)):
        value = b.choose(choices)(b, value)
    if value.layout == "last" and b.chance(0.2):
        value = parts.tokens_to_last(b, parts.to_tokens(b, value))
    value = parts.to_first(b, value)
    if value.example.shape == x.example.shape and b.chance(0.6):
        value = b.apply("add", torch.add, x, value)
    return parts.convolution(b, value) if b.chance(0.7) else value


def patch_merging(b: Builder, x: Value) -> Value:
    """The four pixels of a cell, concatenated, normalised and projected, as in Swin."""
    if x.dims != 2 or any(size % 2 for size in x.grid) or x.channels > 8:
        return x
    order = b.choose(((0, 0, 1, 0, 0, 1, 1, 1), (0, 0, 0, 1, 1, 0, 1, 1)))
    cells = list(zip(order[::2], order[1::2], strict=True))

    def merged(x: Tensor) -> Tensor:
        return torch.cat([x[:, row::2, column::2] for row, column in cells], -1)

    value = b.apply(f"cells {cells}", merged, x)
    if b.chance():
        value = parts.to_tokens(b, value)
    value = parts.layer_norm(b, value) if b.chance(0.8) else value
    return parts.linear(b, value, b.choose((8, 4)))


def patch_merging_of_maps(b: Builder, x: Value) -> Value:
    """Patch merging behind a transpose."""
    return patch_merging(b, parts.to_last(b, x))


def patches(b: Builder, x: Value) -> Value:
    """A convolution over adjacent cells, to normalised tokens."""
    if min(x.grid) < 2:
        return x
    layer = parts.CONVOLUTIONS[x.dims](x.channels, 8, 2, stride=2, bias=not b.chance(0.3))
    value = parts.to_tokens(b, b.apply(b.trained(layer), x))
    value = parts.layer_norm(b, value) if b.chance(0.7) else value
    if b.chance(0.3):  # a table of positions
        table = b.normal(1, *value.example.shape[1:])
        value = b.apply("positions", parts.WithConstant(torch.add, table, False), value)
    return value


def again(b: Builder, x: Value) -> Value:
    """The same layer twice: on the same value, or one after the other."""
    layer: nn.Module
    if x.layout == "first":
        layer = parts.CONVOLUTIONS[x.dims](x.channels, x.channels, 3, padding=1)
    else:
        layer = nn.Sequential(nn.LayerNorm(x.channels), nn.Linear(x.channels, x.channels))
    layer = b.trained(layer)
    one = b.apply(layer, x)
    two = b.apply(layer, one if b.chance(0.3) else x)
    if b.chance(0.3):
        two = b.apply(nn.ReLU(), two)
    return b.apply(*b.choose((("add", torch.add), ("mul", torch.mul))), one, two)


def factors(b: Builder, x: Value) -> Value:
    """A projection, a factor, and perhaps another constant behind it."""
    value = parts.linear(b, x)
    kind = b.choose(("number", "channels", "positions"))
    if kind == "number":
        value = b.apply("* 0.125", lambda x: x * 0.125, value)
    else:
        shape = (value.channels,) if kind == "channels" else (*value.example.shape[1:-1], 1)
        value = b.apply(kind, parts.WithConstant(torch.mul, b.normal(*shape), False), value)
    for _ in range(b.choose((0, 1, 2, 2))):
        shape = b.choose(((value.channels,), value.example.shape[1:]))
        layer = parts.WithConstant(torch.add, b.normal(*shape), False, b.chance())
        value = b.apply(f"add, computed: {layer.computed}", layer, value)
    return value
