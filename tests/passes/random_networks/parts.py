"""Random single operators: each maps a value to another one."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.passes.random_networks.builder import Builder, Value

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MEAN_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
ADAPTIVE = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
ACTIVATIONS = (
    *(nn.ReLU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Sigmoid(), nn.Tanh()),
    *(nn.Hardswish(), nn.LeakyReLU(0.1), nn.ELU(), nn.Softplus(), nn.Identity(), nn.Dropout(0.5)),
)


def channel_axis(x: Value) -> int:
    return 1 if x.layout == "first" else x.example.dim() - 1


def space(x: Value) -> tuple[int, ...]:
    """The axes of positions."""
    axes = range(1, x.example.dim())
    return tuple(axis for axis in axes if axis != channel_axis(x))


def any_channels(b: Builder, x: Value) -> int:
    return b.choose((x.channels, 4, 8, 6, 2, 1, 12))


def convolution(b: Builder, x: Value) -> Value:
    """A convolution of any kind that fits."""
    kernel = tuple(b.choose((3, 1, 2)) for _ in x.grid)
    if b.chance(0.4):
        kernel = (kernel[0],) * x.dims
    out = any_channels(b, x)
    groups = b.choose([1, *(each for each in (2, 4, x.channels) if not x.channels % each)])
    out = max(out // groups, 1) * groups
    dilation = tuple(b.choose((1, 1, 2)) for _ in x.grid)
    reach = [step * (side - 1) for step, side in zip(dilation, kernel, strict=True)]
    padding = tuple(b.choose(sorted({each // 2, 0, 1}, reverse=True)) for each in reach)
    mode = b.choose(("zeros",) * 5 + ("reflect", "replicate", "circular"))
    if mode == "reflect":
        padding = tuple(min(p, size - 1) for p, size in zip(padding, x.grid, strict=True))
    if mode == "circular":
        padding = tuple(min(p, size) for p, size in zip(padding, x.grid, strict=True))
    sized = zip(x.grid, padding, reach, strict=True)
    if any(size + 2 * p <= r for size, p, r in sized) or not b.fits(out * math.prod(x.grid) * 4):
        return pointwise(b, x)
    stride = tuple(b.choose((1, 1, 1, 2)) for _ in x.grid)
    same = b.chance(0.1) and stride == (1,) * x.dims and mode == "zeros"
    layer = CONVOLUTIONS[x.dims](
        *(x.channels, out, kernel, stride, "same" if same else padding, dilation, groups),
        bias=not b.chance(0.4),
        padding_mode=mode,
    )
    return b.apply(b.trained(layer), x)


def pointwise(b: Builder, x: Value, out: int | None = None) -> Value:
    """A 1x1 convolution."""
    out = any_channels(b, x) if out is None else out
    layer = CONVOLUTIONS[x.dims](x.channels, out, 1, bias=not b.chance(0.4))
    return b.apply(b.trained(layer), x)


def transposed_convolution(b: Builder, x: Value) -> Value:
    if not b.fits(x.example.numel() * 2**x.dims * 2):
        return pointwise(b, x)
    layer = TRANSPOSED[x.dims](x.channels, b.choose((4, 2)), 2, stride=b.choose((1, 2)))
    return b.apply(b.trained(layer), x)


def batch_norm(b: Builder, x: Value) -> Value:
    """A batch normalisation in evaluation mode; some have no statistics and use the batch's."""
    layer = NORMS[x.dims](
        x.channels,
        eps=b.choose((1e-5, 1e-3, 0.1)),
        affine=not b.chance(0.2),
        track_running_stats=not b.chance(0.1),
    )
    return b.apply(b.trained(layer), x)


def group_norm(b: Builder, x: Value) -> Value:
    groups = 2 if x.channels % 2 == 0 else 1
    return b.apply(b.trained(nn.GroupNorm(groups, x.channels)), x)


def layer_norm(b: Builder, x: Value) -> Value:
    """A normalisation over the last axis, or over more axes."""
    shape = x.example.shape[-2:] if b.chance(0.1) else x.example.shape[-1:]
    kind = b.choose(("full", "full", "full", "no bias", "plain"))
    layer = nn.LayerNorm(
        tuple(shape),
        eps=b.choose((1e-5, 1e-3)),
        elementwise_affine=kind != "plain",
        bias=kind == "full",
    )
    return b.apply(b.trained(layer), x)


def rms_norm(b: Builder, x: Value) -> Value:
    layer = nn.RMSNorm(x.channels, eps=1e-4, elementwise_affine=not b.chance(0.3))
    return b.apply(b.trained(layer), x)


def linear(b: Builder, x: Value, out: int | None = None) -> Value:
    """A projection of the last axis."""
    out = any_channels(b, x) if out is None else out
    return b.apply(b.trained(nn.Linear(x.channels, out, bias=not b.chance(0.3))), x)


def matrix_product(b: Builder, x: Value) -> Value:
    """A projection written as a matmul with a constant, and perhaps an addition."""
    weight = b.normal(x.channels, any_channels(b, x), scale=0.4)
    return b.apply(f"product with {tuple(weight.shape)}", _Matmul(weight), x)


class _Matmul(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


class WithConstant(nn.Module):
    """An operator with a constant operand on either side, which may be computed."""

    def __init__(self, operator, constant: Tensor, is_left: bool, computed: bool = False) -> None:
        super().__init__()
        self.operator, self.is_left, self.computed = operator, is_left, computed
        self.register_buffer("constant", constant)

    def forward(self, x: Tensor) -> Tensor:
        constant = self.constant.tanh() + 0.1 if self.computed else self.constant
        pair = (constant, x) if self.is_left else (x, constant)
        return self.operator(*pair)


OPERATORS = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "add twice": lambda x, y: torch.add(x, y, alpha=2),
    "maximum": torch.maximum,
}


def with_constant(b: Builder, x: Value) -> Value:
    """A sum, difference or product with a constant of any shape that is broadcast to the value."""
    name = b.choose(tuple(OPERATORS))
    axis = channel_axis(x)
    full = [1, *x.example.shape[1:]]
    which = b.choose(("channels", "one", "full", "positions"))
    if which == "channels":
        shape = [size if each == axis else 1 for each, size in enumerate(full)][1:]
        while b.chance(0.7) and len(shape) > 1 and shape[0] == 1:
            shape.pop(0)
    elif which == "positions":
        shape = [1 if each == axis else size for each, size in enumerate(full)]
    else:
        shape = full if which == "full" else [1]
    constant = b.normal(*shape)
    layer = WithConstant(OPERATORS[name], constant, b.chance(0.3), b.chance(0.4))
    text = f"{name} with {tuple(shape)}, left: {layer.is_left}, computed: {layer.computed}"
    return b.apply(text, layer, x)


def with_number(b: Builder, x: Value) -> Value:
    operator, text = b.choose(
        (
            (lambda x: x + 0.5, "+ 0.5"),
            (lambda x: x * 0.25, "* 0.25"),
            (lambda x: 1 - x, "1 -"),
            (lambda x: x / 3, "/ 3"),
            (lambda x: -x, "negative"),
            (lambda x: x * 1, "* 1"),
            (lambda x: x + 0, "+ 0"),
            (lambda x: x.clone(), "clone"),
            (lambda x: x.contiguous(), "contiguous"),
            (lambda x: x.abs(), "abs"),
            (lambda x: x.clamp(-1, 1), "clamp"),
        )
    )
    return b.apply(text, operator, x)


def activation(b: Builder, x: Value) -> Value:
    return b.apply(b.choose(ACTIVATIONS), x)


def softmax(b: Builder, x: Value) -> Value:
    axis = b.choose((channel_axis(x), x.example.dim() - 1, 1))
    return b.apply(f"softmax over {axis}", lambda x: x.softmax(axis), x)


def mean_pool(b: Builder, x: Value) -> Value:
    kernel, padding = b.choose((2, 3)), b.choose((0, 1))
    if min(x.grid) < kernel:
        return x
    layer = MEAN_POOLS[x.dims](
        kernel,
        stride=b.choose((None, 1, 2)),
        padding=padding,
        ceil_mode=b.chance(0.2),
        count_include_pad=not b.chance(0.4),
    )
    return b.apply(layer, x)


def max_pool(b: Builder, x: Value) -> Value:
    kernel, padding = b.choose((2, 3)), b.choose((0, 1))
    if min(x.grid) + 2 * padding < kernel:
        return x
    pool = MAX_POOLS[x.dims]
    if b.chance():
        return b.apply("max pool by 2", lambda x: pool(x, 2), x) if min(x.grid) > 1 else x
    return b.apply(
        f"max pool of {kernel}, padding {padding}", lambda x: pool(x, kernel, 1, padding), x
    )


def adaptive_pool(b: Builder, x: Value) -> Value:
    return b.apply(ADAPTIVE[x.dims](b.choose((1, 1, 2))), x)


def squeeze_and_excite(b: Builder, x: Value) -> Value:
    mean = b.apply("mean", lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True), x)
    gate = b.apply(nn.Sigmoid(), pointwise(b, mean, x.channels))
    return b.apply("mul", torch.mul, x, gate)


def pad(b: Builder, x: Value) -> Value:
    """Padding of positions and rarely of channels; rarely cropping."""
    sizes = [0, 0] * x.example.dim()
    for axis in space(x):
        place = 2 * (x.example.dim() - 1 - axis)
        sizes[place : place + 2] = [b.choose((1, 0)), b.choose((1, 0, 2))]
    if b.chance(0.1):
        sizes[2 * (x.example.dim() - 1 - channel_axis(x))] = 1
    while sizes and not any(sizes[-2:]):
        del sizes[-2:]
    if not sizes or not b.fits(x.example.numel() * 2) or x.layout == "tokens":
        return x
    modes = ("constant", "constant", "reflect", "replicate", "circular")
    mode = b.choose(modes) if x.layout == "first" and len(sizes) == 2 * x.dims else "constant"
    if mode in ("reflect", "circular") and max(sizes) >= min(x.grid):
        mode = "constant"
    value = b.choose((0.0, 0.0, 0.0, 1.5)) if mode == "constant" else None
    return b.apply(
        f"pad {sizes} {mode} {value}", lambda x: functional.pad(x, sizes, mode, value), x
    )


def slice_channels(b: Builder, x: Value) -> Value:
    axis, half = channel_axis(x), x.channels // 2
    if half < 1:
        return x
    return b.apply(f"first {half} channels", lambda x: x.narrow(axis, 0, half), x)


def swap_halves(b: Builder, x: Value) -> Value:
    axis = channel_axis(x)
    if x.channels < 2:
        return x
    return b.apply("halves swapped", lambda x: torch.cat(x.chunk(2, axis)[::-1], axis), x)


def gate(b: Builder, x: Value) -> Value:
    """One half of the channels times the other."""
    axis, half = channel_axis(x), x.channels // 2
    if x.channels % 2:
        return x

    def gated(x: Tensor) -> Tensor:
        left, right = x.split(half, axis)
        return left * right.sigmoid()

    return b.apply("gate", gated, x)


def slice_positions(b: Builder, x: Value) -> Value:
    axis = b.choose(space(x))
    size = x.example.shape[axis]
    if size < 4 or x.layout == "tokens":
        return x
    start, step = b.choose((1, 0)), b.choose((1, 2))
    where = (slice(None),) * axis + (slice(start, None, step),)
    return b.apply(f"from {start} by {step} along {axis}", lambda x: x[where], x)


def few_positions(b: Builder, x: Value) -> Value:
    """The first or the last positions of an axis, possibly behind expensive operators."""
    axis = b.choose(space(x))
    size = x.example.shape[axis]
    if size < 2:
        return x
    length = b.integer(1, max(1, size // 2))
    start = b.choose((0, size - length))
    changes = {"grid": (length,)} if x.layout == "tokens" else {}
    return b.apply(
        f"{length} from {start} along {axis}", lambda x: x.narrow(axis, start, length), x, **changes
    )


def roll(b: Builder, x: Value) -> Value:
    if x.layout == "tokens":
        return x
    axes = space(x)[: b.integer(1, 2)]
    shifts = [b.choose((-1, 1, 2)) for _ in axes]
    return b.apply(f"roll {shifts} {axes}", lambda x: x.roll(shifts, axes), x)


def flip(b: Builder, x: Value) -> Value:
    axis = b.choose((*space(x), channel_axis(x)))
    return b.apply(f"flip {axis}", lambda x: x.flip(axis), x)


def concatenate(b: Builder, x: Value) -> Value:
    axis = channel_axis(x)
    near = [
        each
        for each in b.values
        if each.layout == x.layout
        and each.grid == x.grid
        and each.example.dim() == x.example.dim()
        and each.example.shape[1:axis] == x.example.shape[1:axis]
        and each.example.shape[axis + 1 :] == x.example.shape[axis + 1 :]
    ]
    others = [b.choose(near[::-1]) for _ in range(b.integer(1, 2))]
    if sum(each.channels for each in (x, *others)) > 24:
        return x
    return b.apply("cat", lambda *values: torch.cat(values, axis), x, *others)


def with_value(b: Builder, x: Value) -> Value:
    """A sum, difference or product with another value of the same shape."""
    other = b.choose(b.like(x))
    name = b.choose(("add", "add", "add", "sub", "mul", "add twice"))
    pair = (other, x) if b.chance(0.3) else (x, other)
    return b.apply(name, OPERATORS[name], *pair)


def resize(b: Builder, x: Value) -> Value:
    if not b.fits(x.example.numel() * 2 * 2**x.dims):
        return x
    return b.apply("nearest twice", lambda x: functional.interpolate(x, scale_factor=2.0), x)


def upsample(b: Builder, x: Value) -> Value:
    if x.dims != 2 or not b.fits(x.example.numel() * 8):
        return x
    aligned = b.chance()
    return b.apply(
        f"bilinear {aligned}",
        lambda x: functional.interpolate(
            x, scale_factor=2.0, mode="bilinear", align_corners=aligned
        ),
        x,
    )


def shuffle(b: Builder, x: Value) -> Value:
    if x.dims != 2 or any(size % 2 for size in x.grid):
        return x
    if x.channels % 4 == 0 and b.chance():
        return b.apply("pixel shuffle", lambda x: functional.pixel_shuffle(x, 2), x)
    if x.channels > 6:
        return x
    return b.apply("pixel unshuffle", lambda x: functional.pixel_unshuffle(x, 2), x)


def to_last(b: Builder, x: Value) -> Value:
    order = (0, *range(2, x.dims + 2), 1)
    if x.dims == 2 and b.chance(0.2):
        return b.apply("moveaxis", lambda x: x.movedim(1, -1), x, layout="last")
    if x.dims == 2 and b.chance(0.2):
        return b.apply(
            "two transposes", lambda x: x.transpose(1, 2).transpose(2, 3), x, layout="last"
        )
    return b.apply(f"permute {order}", lambda x: x.permute(order), x, layout="last")


def to_first(b: Builder, x: Value) -> Value:
    if x.layout == "tokens":
        return unflatten(b, x)
    order = (0, x.dims + 1, *range(1, x.dims + 1))
    if b.chance(0.2):
        return b.apply(
            f"permute {order}, contiguous",
            lambda x: x.permute(order).contiguous(),
            x,
            layout="first",
        )
    return b.apply(f"permute {order}", lambda x: x.permute(order), x, layout="first")


def to_tokens(b: Builder, x: Value) -> Value:
    if x.layout == "last":
        positions = math.prod(x.grid)
        return b.apply(
            "reshape",
            lambda x: x.reshape(x.shape[0], positions, x.shape[-1]),
            x,
            layout="tokens",
        )
    if b.chance(0.2):
        order = (0, *range(2, x.dims + 2), 1)
        return b.apply(
            f"permute {order}, flatten",
            lambda x: x.permute(order).flatten(1, -2),
            x,
            layout="tokens",
        )
    return b.apply("flatten, transpose", lambda x: x.flatten(2).transpose(1, 2), x, layout="tokens")


def unflatten(b: Builder, x: Value) -> Value:
    """Tokens reshaped to a feature map: usually of their original size, rarely of another."""
    if b.chance(0.15):
        flat = (1,) * (x.dims - 1) + (math.prod(x.grid),)
        return unflatten_alike(b, replace(x, grid=b.choose((x.grid[::-1], flat))))
    return unflatten_alike(b, x)


def unflatten_alike(b: Builder, x: Value) -> Value:
    grid = x.grid
    if b.chance(0.3):
        order = (0, len(grid) + 1, *range(1, len(grid) + 1))
        return b.apply(
            f"reshape to {grid}, permute",
            lambda x: x.reshape(x.shape[0], *grid, x.shape[2]).permute(order),
            x,
            layout="first",
        )
    return b.apply(
        f"transpose, reshape to {grid}",
        lambda x: x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *grid),
        x,
        layout="first",
    )


def tokens_to_last(b: Builder, x: Value) -> Value:
    grid = x.grid
    return b.apply(
        f"view as {grid}",
        lambda x: x.unflatten(1, grid),
        x,
        layout="last",
    )


def there_and_back(b: Builder, x: Value) -> Value:
    """Two transposes that cancel."""
    return b.apply("transposed twice", lambda x: x.transpose(1, 2).contiguous().transpose(1, 2), x)


def mean_token(b: Builder, x: Value) -> Value:
    """Every position concatenated with the mean of all."""
    mean = b.apply("mean over positions", lambda x: x.mean(1, keepdim=True), x, grid=(1,))
    return b.apply("sub", torch.sub, x, mean)


def twins(b: Builder, x: Value) -> Value:
    """Two layers with equal weights, on the same value."""
    kind = nn.Linear if x.layout != "first" else CONVOLUTIONS[x.dims]
    sizes = (x.channels, x.channels) if kind is nn.Linear else (x.channels, x.channels, 1)
    one, two = (b.trained(kind(*sizes)) for _ in range(2))
    two.load_state_dict(one.state_dict())
    return b.apply("mul", torch.mul, b.apply(one, x), b.apply(two, x))


def nothing(b: Builder, x: Value) -> Value:
    """A branch that changes nothing: times zero, times one, an unread value, a duplicate."""
    kind = b.choose(("zero", "unread", "one", "twins"))
    if kind == "twins":
        return twins(b, x)
    if kind == "unread":
        b.apply("unread", lambda x: x.mean(1, keepdim=True), x, grid=(1,))
        return x
    constant = torch.zeros(1) if kind == "zero" else torch.ones(1)
    value = b.apply(kind, WithConstant(torch.mul, constant.double(), False), x)
    return b.apply("add", torch.add, x, value)
