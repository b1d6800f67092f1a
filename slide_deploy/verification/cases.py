"""The inputs on which a file and its network are compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from slide_deploy.deployable.inputs import Input
from slide_deploy.verification.draws import Frame, Recipe, choice, constant, normal, stored
from slide_deploy.verification.draws import pixels as pixel_recipe

# Every output of a model by its name.
Answers = Mapping[str, np.ndarray]
# Width of the frame in "border", in positions: one patch of a vision transformer.
_FRAME = 4
# A grey near the mean of photographs, and the brightest pixel.
_GREY, _WHITE = 118, 255
# A power of two, so that faint numbers are exact.
_FAINT = 2.0**-7


@dataclass(frozen=True)
class Case:
    """Inputs to verify with, and why these.

    Attributes:
        name: what they show.
        inputs: a tensor for each input, by its name.
        rows: of examples: how many are run at a time. Answers to all are compared as one, without
            what they have in common; see ``parity.compare``. None for a case that is run whole.
        recipes: how inputs are made again, by their name; of the others, only the values tell.
    """

    name: str
    inputs: Mapping[str, np.ndarray]
    rows: int | None = None
    recipes: Mapping[str, Recipe] = field(default_factory=dict)

    @staticmethod
    def drawn(name: str, recipes: Mapping[str, Recipe]) -> "Case":
        """A case whose inputs are drawn.

        Args:
            name: what it shows.
            recipes: of each input, by its name.
        """
        inputs = {each: recipe.tensor() for each, recipe in recipes.items()}
        return Case(name, inputs, recipes=recipes)

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
    inputs: Sequence[Input], sizes: Mapping[str, Sequence[int]] | None = None
) -> tuple[Case, ...]:
    """Inputs that together show what one random input hides.

    Inputs are drawn from their ``values`` where they have some. Those of integers are drawn from
    the values of their examples otherwise, as these may be indices. Pixels are whole numbers from 0
    to 255.

    Args:
        inputs: of the network; their examples say sizes and types.
        sizes: of each open dimension, by its name: further sizes to draw noise at.
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
            # What is wrong at the edge of a map drowns in an average over the whole of it.
            Case.drawn("border", border),
            # Nearly no contrast: the normalisations' epsilon and the biases decide.
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
    if any(each.example.size and np.ptp(each.example) for each in inputs):
        cases.insert(0, Case("example", {each.name: each.example for each in inputs}))
    for name, others in (sizes or {}).items():
        cases += [Case.drawn(f"{name} of {size}", drawn(1.0, {name: size})) for size in others]
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
    """A recipe for maps whose inside is taken away; what is left is three times as large.

    Args:
        recipe: of a tensor (batch, channels, height, width); others stay as they are.
        is_pixels: whether its numbers are whole ones from 0 to 255, which have no larger ones. The
            inside is grey then.
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
