"""The inputs on which a file and its network are compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy.deployable.inputs import Input

# Every output of a model by its name.
Answers = Mapping[str, np.ndarray]
# Width of the frame in "border", in positions: one patch of a vision transformer.
_FRAME = 4
# A grey near the mean of photographs, and the brightest pixel.
_GREY, _WHITE = 118, 255


@dataclass(frozen=True)
class Case:
    """Inputs to verify with, and why these.

    Attributes:
        name: what they show.
        inputs: a tensor for each input, by its name.
        rows: of examples: how many are run at a time. Answers to all are compared as one, without
            what they have in common; see ``parity.compare``. None for a case that is run whole.
    """

    name: str
    inputs: Mapping[str, np.ndarray]
    rows: int | None = None

    def run(self, call: Callable[[Mapping[str, np.ndarray]], Answers]) -> Answers:
        """What something answers to the case.

        Args:
            call: inputs to answers, both by name.
        """
        parts = [call(inputs) for inputs in self.parts()]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def parts(self) -> Iterator[Mapping[str, np.ndarray]]:
        """What is run at a time."""
        if self.rows is None:
            yield self.inputs
            return
        for start in range(0, self.batch, self.rows):
            yield {name: each[start : start + self.rows] for name, each in self.inputs.items()}

    @property
    def batch(self) -> int:
        """The first size of the first input."""
        first = next(iter(self.inputs.values()))
        return first.shape[0] if first.ndim else 1


def verification_cases(
    inputs: Sequence[Input], sizes: Mapping[str, Sequence[int]] | None = None, seed: int = 0
) -> tuple[Case, ...]:
    """Inputs that together show what one random input hides.

    Inputs are drawn from their ``values`` where they have some. Those of integers are drawn from
    the values of their examples otherwise, as these may be indices. Pixels are whole numbers from 0
    to 255.

    Args:
        inputs: of the network; their examples say sizes and types.
        sizes: of each open dimension, by its name: further sizes to draw noise at.
        seed: of the random draws.
    """
    random = np.random.default_rng(seed)

    def drawn(
        factor: float = 1.0, resized: Mapping[str, int] | None = None
    ) -> dict[str, np.ndarray]:
        return {each.name: _draw(each.resized(resized or {}), random, factor) for each in inputs}

    pixels = {each.name for each in inputs if each.pixels}
    border = {name: _border(values, name in pixels) for name, values in drawn().items()}
    cases = [Case("noise", drawn())]
    if not any(each.values is not None and each.example.dtype.kind == "f" for each in inputs):
        cases += [
            # What is wrong at the edge of a map drowns in an average over the whole of it.
            Case("border", border),
            # Nearly no contrast: the normalisations' epsilon and the biases decide.
            Case("faint", drawn(0.01)),
            Case("zeros", drawn(0.0)),
        ]
        if pixels:
            white = {
                each.name: np.full_like(each.example, _WHITE) for each in inputs if each.pixels
            }
            cases.append(Case("white", drawn() | white))
    if any(each.example.size and np.ptp(each.example) for each in inputs):
        cases.insert(0, Case("example", {each.name: each.example for each in inputs}))
    for name, others in (sizes or {}).items():
        cases += [Case(f"{name} of {size}", drawn(1.0, {name: size})) for size in others]
    return tuple(cases)


def example_case(name: str, examples: Sequence[Mapping[str, np.ndarray]]) -> Case:
    """Examples of one shape as a case: each is run on its own, and all are compared as one.

    Args:
        name: what they are.
        examples: at least one.
    """
    first = examples[0]
    inputs = {each: np.concatenate([example[each] for example in examples]) for each in first}
    rows = next(iter(first.values())).shape[0]
    return Case(name, inputs, rows)


def _draw(given: Input, random: np.random.Generator, factor: float) -> np.ndarray:
    example = given.example
    if given.pixels:
        lowest = _GREY if 0 < factor < 1 else 0
        count = 1 + int(np.ceil(_WHITE * factor))  # of different values
        return random.integers(lowest, lowest + count, example.shape).astype(example.dtype)
    if given.values is not None:
        return random.choice(given.values, example.shape)
    if example.dtype.kind == "f":
        noise = random.standard_normal(example.shape) * factor
        return noise.astype(example.dtype)
    if example.dtype.kind == "b":
        return random.random(example.shape) < 0.5
    return random.choice(example.ravel(), example.shape) if example.size else example


def _border(values: np.ndarray, pixels: bool) -> np.ndarray:
    """Values inside a map taken away, those at its edge three times as large; pixels inside grey.

    Args:
        values: (batch, channels, height, width).
        pixels: whether they are whole numbers from 0 to 255, which have no larger ones.
    """
    if values.ndim < 4 or (values.dtype.kind != "f" and not pixels):
        return values
    frame = _FRAME if min(values.shape[-2:]) > 2 * _FRAME else 1
    framed = values.copy() if pixels else 3 * values
    framed[..., frame:-frame, frame:-frame] = _GREY if pixels else 0.0
    return framed
