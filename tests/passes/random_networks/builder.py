"""Random networks, built value by value.

Every step runs once, on an example in float64, as soon as it is added. So the builder knows all
shapes, and nothing is built that cannot run.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
Function = Callable[..., Tensor]
# Largest number of elements of an example value; larger values are not extended.
MOST_NUMBERS = 6000


@dataclass(frozen=True)
class Value:
    """A value of a network that is being built.

    Attributes:
        place: among the values, in the order in which they are computed.
        example: what it is for the example input.
        layout: "first" (batch, channels, sizes), "last" (batch, sizes, channels) or "tokens"
            (batch, positions, channels).
        grid: the sizes of the map that tokens come from; those of the map itself otherwise.
    """

    place: int
    example: Tensor
    layout: str
    grid: tuple[int, ...]

    @property
    def channels(self) -> int:
        return self.example.shape[1 if self.layout == "first" else -1]

    @property
    def dims(self) -> int:
        return len(self.grid)


class RandomNetwork(nn.Module):
    """The steps of a builder, run one after the other.

    Args:
        steps: a function, the values that it reads and what to call it, each.
        outputs: which values the network gives.
        example: its input.
    """

    def __init__(
        self,
        steps: Sequence[tuple[Function, tuple[int, ...], str]],
        outputs: tuple[int, ...],
        example: Tensor,
    ) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.outputs = outputs
        self.example = example
        found = dict.fromkeys(step[0] for step in steps if isinstance(step[0], nn.Module))
        self.layers = nn.ModuleList(found)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for function, reads, _ in self.steps:
            values.append(function(*(values[place] for place in reads)))
        return tuple(values[place] for place in self.outputs)

    def __repr__(self) -> str:
        lines = [f"v0 = input {tuple(self.example.shape)}"]
        for place, (_, reads, text) in enumerate(self.steps, start=1):
            lines.append(f"v{place} = {text} of {', '.join(f'v{each}' for each in reads)}")
        lines.append(f"outputs {', '.join(f'v{each}' for each in self.outputs)}")
        return "\n".join(("", *lines))


class Builder:
    """Builds a network at random.

    Args:
        random: what decides; the same numbers give the same network.
        example: sizes of the input, (batch, channels, sizes).
    """

    def __init__(self, random: Random, example: Sequence[int]) -> None:
        self._choices = random
        self._random = torch.Generator().manual_seed(random.getrandbits(32))
        self._steps: list[tuple[Function, tuple[int, ...], str]] = []
        x = torch.randn(*example, generator=self._random, dtype=torch.float64)
        self.values = [Value(0, x, "first", tuple(x.shape[2:]))]

    def choose(self, choices: Sequence[T]) -> T:
        """One of several."""
        return self._choices.choice(choices)

    def integer(self, low: int, high: int) -> int:
        """A number from ``low`` to ``high``."""
        return self._choices.randint(low, high)

    def chance(self, share: float = 0.5) -> bool:
        """Whether an event with the given probability happens."""
        return self._choices.random() < share

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Normal numbers; some of them are exactly zero."""
        numbers = torch.randn(*shape, generator=self._random, dtype=torch.float64) * scale
        if self.chance(0.1):
            numbers[torch.rand(*shape, generator=self._random) < 0.3] = 0
        return numbers

    def trained(self, module: nn.Module) -> nn.Module:
        """A layer in float64 and evaluation mode whose every weight is random."""
        module = module.double().eval().requires_grad_(False)
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var"):
                tensor.copy_(self.normal(*tensor.shape).exp())
                continue
            inputs = tensor[0].numel() if tensor.dim() > 1 else 1
            tensor.copy_(self.normal(*tensor.shape, scale=1 / math.sqrt(inputs)))
        return module

    def apply(self, what: Function | str, *args: Any, **changes: Any) -> Value:
        """Add a step.

        Args:
            what: a layer; or what to call the function that stands first in ``args``.
            args: the values that it reads, the function before them if ``what`` is a text.
            changes: ``layout`` and ``grid`` of what comes out, where they are not as those of the
                first value. The grid of a map is read from its example.
        """
        if isinstance(what, str):
            text, function, *read = what, *args
        else:
            text, function, *read = repr(what).replace("\n", ""), what, *args
        with torch.no_grad():
            example = function(*(each.example for each in read))
        layout = changes.get("layout", read[0].layout)
        grid = changes.get("grid", read[0].grid)
        if layout == "first":
            grid = tuple(example.shape[2:])
        elif layout == "last":
            grid = tuple(example.shape[1:-1])
        self._steps.append((function, tuple(each.place for each in read), text))
        self.values.append(Value(len(self.values), example, layout, grid))
        return self.values[-1]

    def fits(self, numbers: int) -> bool:
        """Whether a value of this many numbers is small enough to compute with."""
        return numbers <= MOST_NUMBERS

    def like(self, value: Value) -> list[Value]:
        """All values of the same shape and layout, the value itself last."""
        alike = [
            each
            for each in self.values
            if each.layout == value.layout and each.example.shape == value.example.shape
        ]
        return sorted(alike, key=lambda each: each.place == value.place)

    def network(self, outputs: Sequence[Value]) -> RandomNetwork:
        """The network that was built."""
        places = tuple(each.place for each in outputs)
        return RandomNetwork(self._steps, places, self.values[0].example)
