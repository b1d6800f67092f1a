"""The inputs on which a file and its network are compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from slide_deploy.deployable.inputs import Input
from slide_deploy.verification.draws import Frame, Recipe, choice, constant, normal, stored
from slide_deploy.verification.draws import pixels as pixel_recipe

# All outputs of a model, by name.
NamedOutputs = Mapping[str, np.ndarray]
# Width of the frame in the "border" case, in positions: one patch of a vision transformer.
_FRAME = 4
# A grey near the mean of photographs, and the brightest pixel.
_GREY, _WHITE = 118, 255
# A power of two, so that the scaled numbers are exact.
_FAINT = 2.0**-7


@dataclass(frozen=True)
class Case:
    """Inputs to verify with.

    Attributes:
        name: what the inputs test.
        inputs: one array per input, by name.
        rows: for examples, how many rows run at a time. The outputs of all examples are compared
            together, after their mean is subtracted; see ``parity.compare``. None for a case that
            runs as a whole.
        recipes: how to draw an input again, by name. Inputs without a recipe have to be stored.
    """

    name: str
    inputs: Mapping[str, np.ndarray]
    rows: int | None = None
    recipes: Mapping[str, Recipe] = field(default_factory=dict)

    @staticmethod
    def drawn(name: str, recipes: Mapping[str, Recipe]) -> "Case":
        """Build a case whose inputs are drawn."""
        inputs = {each: recipe.tensor() for each, recipe in recipes.items()}
        return Case(name, inputs, recipes=recipes)

    def run(self, call: Callable[[Mapping[str, np.ndarray]], NamedOutputs]) -> NamedOutputs:
        """Run the case and return all outputs."""
        parts = [call(inputs) for inputs in self.parts()]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def parts(self) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield the inputs of one run after the other."""
        if self.rows is None:
            yield self.inputs
            return
        for start in range(0, self.batch, self.rows):
            yield {name: each[start : start + self.rows] for name, each in self.inputs.items()}

    @property
    def batch(self) -> int:
        """Size of the first axis of the first input."""
        first = next(iter(self.inputs.values()))
        return first.shape[0] if first.ndim else 1


def verification_cases(
    inputs: Sequence[Input], sizes: Mapping[str, Sequence[int]] | None = None
) -> tuple[Case, ...]:
    """Build inputs that together reveal what a single random input hides.

    An input that declares ``values`` is drawn from them. Other integer inputs are drawn from the
    values of their example, because they may be indices. Pixels are integers from 0 to 255.

    Args:
        inputs: inputs of the network; their examples define shapes and types.
        sizes: further sizes at which to draw noise, by the name of the open dimension.
    """
    seeds = count(1)

    def drawn(factor: float = 1.0, resized: Mapping[str, int] | None = None) -> dict[str, Recipe]:
        return {
            each.name: _draw(each.resized(resized or {}), next(seeds), factor) for each in inputs
        }

    pixels = {each.name for each in inputs if each.pixels}
    cases = [Case.drawn("noise", drawn())]
    if not any(each.values is not None and each.example.dtype.kind == "f" for each in inputs):
        border = {name: _border(recipe, name in pixels) for name, recipe in drawn().items()}
        cases += [
            # An average over the whole feature map would hide errors at its edge.
            Case.drawn("border", border),
            # With almost no contrast, the epsilon of normalisations and the biases dominate.
            Case.drawn("faint", drawn(_FAINT)),
            Case.drawn("zeros", drawn(0.0)),
        ]
        if pixels:
            white = {
                each.name: constant(each.example.shape, str(each.example.dtype), _WHITE)
                for each in inputs
                if each.pixels
            }
            cases.append(Case.drawn("white", drawn() | white))
    if any(each.varies for each in inputs):
        cases.insert(0, Case("example", {each.name: each.example for each in inputs}))
    for name, others in (sizes or {}).items():
        cases += [Case.drawn(f"{name} of {size}", drawn(1.0, {name: size})) for size in others]
    return tuple(cases)


def example_case(name: str, examples: Sequence[Mapping[str, np.ndarray]]) -> Case:
    """Build a case from examples of one shape. Each runs alone; all are compared together.

    Args:
        name: name of the case.
        examples: at least one; arrays by input name.
    """
    first = examples[0]
    inputs = {each: np.concatenate([example[each] for example in examples]) for each in first}
    rows = next(iter(first.values())).shape[0]
    return Case(name, inputs, rows)


def _draw(given: Input, seed: int, factor: float) -> Recipe:
    example = given.example
    shape, dtype = example.shape, str(example.dtype)
    if given.pixels:
        lowest = _GREY if 0 < factor < 1 else 0
        different = 1 + int(np.ceil(_WHITE * factor))
        return pixel_recipe(seed, shape, dtype, lowest, different)
    if given.values is not None:
        return choice(seed, shape, given.values)
    if example.dtype.kind == "f":
        return normal(seed, shape, dtype, factor)
    if example.dtype.kind == "b":
        return choice(seed, shape, np.array([False, True]))
    return choice(seed, shape, np.unique(example)) if example.size else stored(example)


def _border(recipe: Recipe, is_pixels: bool) -> Recipe:
    """Change a recipe for feature maps so that only the border is drawn, three times as large.

    Args:
        recipe: recipe of an array (batch, channels, height, width); others stay as they are.
        is_pixels: whether the values are integers from 0 to 255. They cannot be larger, so the
            inside becomes grey instead.
    """
    if len(recipe.shape) < 4 or (np.dtype(recipe.dtype).kind != "f" and not is_pixels):
        return recipe
    width = _FRAME if min(recipe.shape[-2:]) > 2 * _FRAME else 1
    if is_pixels:
        return replace(recipe, frame=Frame(width, _GREY))
    larger = dict(recipe.draw)
    if "factor" in larger:
        larger["factor"] *= 3
    return replace(recipe, draw=larger, frame=Frame(width, 0.0))
