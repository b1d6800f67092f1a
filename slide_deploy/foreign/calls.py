"""Find out how a layer of another project is called and what it returns, by calling it.

The supported inputs are feature maps, (batch, C, H, W) or (batch, H, W, C), and tokens,
(batch, H * W, C). For tokens, the height and width are arguments of ``forward`` or attributes of
the layer, or the feature map is square. The output has the shape of the input. It is returned alone
or as the first item of a tuple or list.
"""

import copy
import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError

Size = tuple[int, int]

# Common names of the height and width, as two arguments or as one pair.
_PAIRS = (("H", "W"), ("h", "w"), ("height", "width"))
_SIZES = ("resolution", "input_resolution", "hw_shape", "hw", "size")
# Types of the items after the output tensor that a folded layer can return too.
_CONSTANT = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class AttentionCall:
    """A way to call a layer.

    Attributes:
        signature: signature of its ``forward``.
        layout: layout of its input and output.
        names: names of the height and width of tokens, or one name for the pair; () for feature
            maps in NCHW or NHWC, and for tokens of a square feature map.
        by: whether ``names`` are arguments of ``forward`` or attributes of the layer.
        container: the type it returns, tuple or list; None for a bare tensor.
        rest: items after the output tensor in the container: None, numbers, booleans or strings
            that do not depend on the input.
        bound: the only (height, width) that its attributes allow; None for any size.
    """

    signature: inspect.Signature
    layout: Literal["nchw", "nhwc", "tokens"]
    names: tuple[str, ...] = ()
    by: Literal["argument", "attribute"] = "argument"
    container: type[tuple[Any, ...]] | type[list[Any]] | None = None
    rest: tuple[Any, ...] = ()
    bound: Size | None = None

    @property
    def square(self) -> bool:
        """Whether the input is the tokens of a square feature map."""
        return self.layout == "tokens" and not self.names

    def sizes(self, kernel_size: int, channels: int) -> tuple[Size, ...]:
        """Return two (height, width) to prove a reading on: odd, with an interior and borders."""
        if self.bound is not None:
            return (self.bound,) * 2
        first, second, third = _odd_sides(kernel_size, channels)
        if self.square:
            return (first, first), (second, second)
        return (first, second), (third, first)

    def run(self, layer: nn.Module, nchw: Tensor) -> Tensor:
        """Run a layer on (batch, C, H, W), and return its output in the same layout.

        Raises:
            TypeError: if the output has another shape, or more items than a folded layer can
                return.
        """
        height, width = nchw.shape[2:]
        tokens = nchw.flatten(2).transpose(1, 2)
        x = {"nchw": nchw, "nhwc": nchw.permute(0, 2, 3, 1), "tokens": tokens}[self.layout]
        values: tuple[Any, ...] = (height, width) if len(self.names) == 2 else ((height, width),)
        named = dict(zip(self.names, values, strict=False))
        if self.by == "attribute":
            for name, value in named.items() if self.bound is None else ():
                setattr(layer, name, value)
            named = {}
        out = _unpack(layer(x, **named), x)
        if self.layout == "nchw":
            return out
        return out.reshape(-1, height, width, nchw.shape[1]).permute(0, 3, 1, 2)

    def pack(self, out: Tensor) -> Any:
        """Return an output tensor in the container that the layer returns."""
        return out if self.container is None else self.container((out, *self.rest))

    def arguments(
        self, layer: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Tensor, Size | None]:
        """Read the input tensor, and the height and width of tokens, from the caller's arguments.

        Returns:
            The input, and (height, width); None instead of a size for NCHW.

        Raises:
            InputError: if the caller passes an argument that a slide attention does not use.
        """
        given = dict(self.signature.bind(*args, **kwargs).arguments)
        x = given.pop(next(iter(self.signature.parameters)))
        if isinstance(x, tuple):  # forward(*args)
            (x,) = x
        size: Size | None = None
        if self.bound is not None:
            size = self.bound
        elif self.square:
            side = math.isqrt(x.shape[1])
            size = side, side
        elif self.layout == "nhwc":
            size = x.shape[1], x.shape[2]
        elif self.names:
            if self.by == "attribute":
                values = [getattr(layer, name) for name in self.names]
            else:
                values = [given.pop(name) for name in self.names]
            size = tuple(values[0] if len(values) == 1 else values)
        for name, value in given.items():
            if value is not self.signature.parameters[name].default and value not in ((), {}):
                raise InputError(
                    f"A folded slide attention does not use the argument {name}: call it without "
                    f"{name}."
                )
        return x, size


class CutLayer(nn.Module):
    """A layer that was cut out of a graph, and knows how it is called.

    Attributes:
        call: how it is called.
        channels: number of channels of its input, C.
    """

    call: AttentionCall
    channels: int


def find_call(layer: nn.Module, channels: int, kernel_size: int) -> AttentionCall:
    """Find a way to call a layer.

    Args:
        layer: in evaluation mode and float64, on the CPU. It is not changed.
        channels: C.
        kernel_size: side of the neighbourhood.

    Raises:
        TypeError: if no supported call works. The message is a clause that gives the reason.
    """
    reasons = []
    for call in _possible(layer):
        inputs = [
            torch.zeros(2, channels, *size, dtype=torch.float64)
            for size in call.sizes(kernel_size, channels)
        ]
        try:
            # Every size is tried, because one may pass by chance. The layer is copied, because
            # attributes for the size are set on it.
            return _with_container(call, copy.deepcopy(layer), inputs)
        except Exception as error:  # any class of another project, any error
            text = str(error).partition("\n")[0][:120] or type(error).__name__
            reasons.append(f"given {_named(call, inputs[0])}: {text}")
    raise TypeError("; ".join(reasons[:1]) or "it takes arguments that no slide attention takes")


def _unpack(returned: Any, x: Tensor) -> Tensor:
    items = returned if type(returned) in (tuple, list) and returned else (returned,)
    if not isinstance(items[0], Tensor) or items[0].shape != x.shape:
        raise TypeError(f"it returns {_described(returned)} for {_described(x)}")
    if not all(isinstance(item, _CONSTANT) for item in items[1:]):
        raise TypeError(f"it returns {_described(returned)}, which is more than one output")
    return items[0]


def _possible(layer: nn.Module) -> Iterator[AttentionCall]:
    """Yield the calls that a layer's signature and attributes allow."""
    signature = inspect.signature(layer.forward)
    _, *others = signature.parameters.values() or (None,)
    required = tuple(
        each.name
        for each in others
        if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD
    )
    if required:
        if len(required) <= 2:
            widths_first = required[0].lower().startswith("w") and len(required) == 2
            names = required[::-1] if widths_first else required
            yield AttentionCall(signature, "tokens", names)
        return
    yield AttentionCall(signature, "nchw")
    for names in (*_PAIRS, *((name,) for name in _SIZES)):
        if all(name in signature.parameters for name in names):
            yield AttentionCall(signature, "tokens", names)
        if not all(hasattr(layer, name) for name in names):
            continue
        bound = _bound(layer, names)
        yield AttentionCall(signature, "tokens", names, "attribute")
        if bound is not None:
            yield AttentionCall(signature, "tokens", names, "attribute", bound=bound)
    yield AttentionCall(signature, "nhwc")
    yield AttentionCall(signature, "tokens")


def _bound(layer: nn.Module, names: Sequence[str]) -> Size | None:
    values = [getattr(layer, name) for name in names]
    pair = values[0] if len(values) == 1 else values
    match pair:
        case [int() as height, int() as width]:
            return height, width
        case int() as side:
            return side, side
    return None


def _with_container(
    call: AttentionCall, layer: nn.Module, inputs: Sequence[Tensor]
) -> AttentionCall:
    returned: list[Any] = []
    # This hook runs last, so it receives what the layer finally returns.
    handle = layer.register_forward_hook(lambda module, args, out: returned.append(out))
    try:
        for nchw in inputs:
            call.run(layer, nchw)
    finally:
        handle.remove()
    first, *others = returned
    if type(first) not in (tuple, list):
        return call
    rest = tuple(first[1:])
    if any(type(other) is not type(first) or tuple(other[1:]) != rest for other in others):
        raise TypeError(
            f"it returns {_described(first)}, in which more than the first item depends on the "
            f"input"
        )
    return replace(call, container=type(first), rest=rest)


def _odd_sides(kernel_size: int, channels: int) -> tuple[int, int, int]:
    """Return three odd sides that differ from the number of channels."""
    first, second, third = [
        side for side in range(kernel_size + 2, kernel_size + 10, 2) if side != channels
    ][:3]
    return first, second, third


def _named(call: AttentionCall, nchw: Tensor) -> str:
    height, width = nchw.shape[2:]
    what = {
        "nchw": "an NCHW feature map",
        "nhwc": "an NHWC feature map",
        "tokens": "the tokens of a feature map",
    }
    return f"{what[call.layout]} of {height}x{width}"


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        inside = ", ".join(_described(item) for item in value[:4])
        return f"a {type(value).__name__} of {inside}"
    return "None" if value is None else f"a {type(value).__name__}"
