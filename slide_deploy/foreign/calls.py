"""How a class of another project is called, and what it answers: found by calling it.

Known are maps, (batch, C, H, W) or (batch, H, W, C), and tokens, (batch, H * W, C). Tokens carry no
height and width. These are arguments, attributes of the layer, or the map is a square. What the
layer answers is shaped as what it takes, alone or as the first item of a tuple or list.
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

# What projects call the height and the width, as two names or as one pair.
_PAIRS = (("H", "W"), ("h", "w"), ("height", "width"))
_SIZES = ("resolution", "input_resolution", "hw_shape", "hw", "size")
# Items behind the map that a folded layer can answer too.
_CONSTANT = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class AttentionCall:
    """A way to call a layer.

    Attributes:
        signature: of its ``forward``.
        layout: of what it takes and answers.
        names: of the height and the width of tokens, or of both in one; () for maps, and where the
            map is a square.
        by: whether these are arguments or attributes.
        container: what it answers, a tuple or a list; None for the map alone.
        rest: items behind the map in a container: None, numbers, truth values or texts that are
            the same whatever the map.
        bound: the one size at which it can be called, as its attributes have it; None for any.
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
        """Whether tokens are those of a square."""
        return self.layout == "tokens" and not self.names

    def sizes(self, kernel_size: int, channels: int) -> tuple[Size, ...]:
        """Maps to prove it on: with odd sides, an interior and every border."""
        if self.bound is not None:
            return (self.bound,) * 2
        first, second, third = _odd_sides(kernel_size, channels)
        if self.square:
            return (first, first), (second, second)
        return (first, second), (third, first)

    def answer(self, layer: nn.Module, maps: Tensor) -> Tensor:
        """What a layer answers: (batch, C, H, W), kept, whatever the layout of the layer."""
        height, width = maps.shape[2:]
        tokens = maps.flatten(2).transpose(1, 2)
        x = {"nchw": maps, "nhwc": maps.permute(0, 2, 3, 1), "tokens": tokens}[self.layout]
        values: tuple[Any, ...] = (height, width) if len(self.names) == 2 else ((height, width),)
        named = dict(zip(self.names, values, strict=False))
        if self.by == "attribute":
            for name, value in named.items() if self.bound is None else ():
                setattr(layer, name, value)
            named = {}
        answer = self.unpack(layer(x, **named), x)
        if self.layout == "nchw":
            return answer
        return answer.reshape(-1, height, width, maps.shape[1]).permute(0, 3, 1, 2)

    def unpack(self, answered: Any, x: Tensor) -> Tensor:
        """The map of an answer.

        Raises:
            TypeError: if there is none, or more than a map.
        """
        items = answered if type(answered) in (tuple, list) and answered else (answered,)
        if not isinstance(items[0], Tensor) or items[0].shape != x.shape:
            raise TypeError(f"it answers {_described(answered)} to {_described(x)}")
        if not all(isinstance(item, _CONSTANT) for item in items[1:]):
            raise TypeError(f"it answers {_described(answered)}, more than a map")
        return items[0]

    def packed(self, out: Tensor) -> Any:
        """What the layer answers where this is its map."""
        return out if self.container is None else self.container((out, *self.rest))

    def arguments(
        self, layer: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Tensor, Size | None]:
        """What a caller gave: the tensor, and the height and width of tokens.

        Raises:
            InputError: if the caller gave an argument that a slide attention has no use for.
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
                    f"A slide attention was given {name}, which its folded form has no use for: "
                    f"leave it out."
                )
        return x, size


def find_call(layer: nn.Module, channels: int, kernel_size: int) -> AttentionCall:
    """Find a way to call a layer.

    Args:
        layer: in evaluation mode and float64, on the CPU; left as it is.
        channels: C.
        kernel_size: side of the neighbourhood.

    Raises:
        TypeError: if there is none that is known; the text is a clause that says why.
    """
    reasons = []
    for call in _possible(layer):
        maps = [
            torch.zeros(2, channels, *size, dtype=torch.float64)
            for size in call.sizes(kernel_size, channels)
        ]
        try:
            # Of every size, as one may pass by chance; a copy, as attributes for its size are set.
            return _with_container(call, copy.deepcopy(layer), maps)
        except Exception as error:  # any class of another project, any error
            text = str(error).partition("\n")[0][:120] or type(error).__name__
            reasons.append(f"given {_named(call, maps[0])}: {text}")
    raise TypeError("; ".join(reasons[:1]) or "it takes arguments that no slide attention takes")


def _possible(layer: nn.Module) -> Iterator[AttentionCall]:
    """Ways to call a layer that its signature and its attributes allow."""
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


def _with_container(call: AttentionCall, layer: nn.Module, maps: Sequence[Tensor]) -> AttentionCall:
    seen: list[Any] = []
    # The last hook that runs: what it sees is what the layer answers.
    handle = layer.register_forward_hook(lambda module, args, answered: seen.append(answered))
    try:
        for each in maps:
            call.answer(layer, each)
    finally:
        handle.remove()
    first, *others = seen
    if type(first) not in (tuple, list):
        return call
    rest = tuple(first[1:])
    if any(type(other) is not type(first) or tuple(other[1:]) != rest for other in others):
        raise TypeError(f"it answers {_described(first)}, of which more than the map changes")
    return replace(call, container=type(first), rest=rest)


def _odd_sides(kernel_size: int, channels: int) -> tuple[int, int, int]:
    """Three odd sides that nobody takes for the channels."""
    first, second, third = [
        side for side in range(kernel_size + 2, kernel_size + 10, 2) if side != channels
    ][:3]
    return first, second, third


def _named(call: AttentionCall, maps: Tensor) -> str:
    height, width = maps.shape[2:]
    what = {
        "nchw": "a map",
        "nhwc": "a map with the channels last",
        "tokens": "the tokens of a map",
    }
    return f"{what[call.layout]} of {height}x{width}"


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        inside = ", ".join(_described(item) for item in value[:4])
        return f"a {type(value).__name__} of {inside}"
    return "None" if value is None else f"a {type(value).__name__}"
