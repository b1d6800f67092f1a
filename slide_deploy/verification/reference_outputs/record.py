"""What is stored beside a file: cases with the trained network's answers, and what is allowed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from slide_deploy.precisions import Limit
from slide_deploy.verification.cases import Case
from slide_deploy.verification.draws import Recipe, places

# Feature maps are large: an output of more numbers is stored at so many places, unless its rows are
# logits.
WHOLE, SAMPLES = 2**16, 2**12
# Numbers in the inputs of all cases together: five of a picture of 2048x2048 are fewer.
MOST_DRAWN = 2**26


@dataclass(frozen=True)
class Sampling:
    """Which numbers of a large output stand for it.

    Attributes:
        seed: of the places.
        count: how many.
    """

    seed: int
    count: int

    def of(self, values: np.ndarray) -> np.ndarray:
        """The numbers of a tensor at the places, in their order."""
        return values.reshape(-1)[places(self.seed, self.count, values.size)]


@dataclass(frozen=True)
class Expected:
    """The true answer at one output.

    Attributes:
        shape: of the whole.
        values: the whole, or the numbers at the places of ``sampling``; float32, rounded once, or
            whole numbers.
        largest: absolute value of any finite number of the whole.
        sampling: None where the whole is stored.
    """

    shape: tuple[int, ...]
    values: np.ndarray
    largest: float
    sampling: Sampling | None = None


@dataclass(frozen=True)
class ExpectedCase:
    """One case.

    Attributes:
        name: what it shows.
        recipes: of the inputs as the file takes them, by the file's names.
        answers: by the file's names of outputs.
        stored: inputs that cannot be drawn, by name.
        rows: how many examples are run at a time; see ``Case.rows``.
    """

    name: str
    recipes: Mapping[str, Recipe]
    answers: Mapping[str, Expected]
    stored: Mapping[str, np.ndarray] = field(default_factory=dict)
    rows: int | None = None

    @property
    def drawn(self) -> int:
        """How many numbers its inputs have."""
        return sum(math.prod(each.shape) for each in self.recipes.values())

    @property
    def batch(self) -> int:
        """The first size of the first input, as `Case.batch`."""
        handed = next(iter(self.recipes.values())).handed
        return handed[0] if handed else 1

    def case(self) -> Case:
        """The case with its inputs made."""
        inputs = {
            name: recipe.tensor(self.stored.get(name)) for name, recipe in self.recipes.items()
        }
        return Case(self.name, inputs, self.rows)


@dataclass(frozen=True)
class Reference:
    """What a file must answer.

    Attributes:
        model_sha256: of the file and its companions, see ``companions.model_digest``.
        precision: of the file, see ``slide_deploy.precisions``.
        limit: how far answers of the file may be off.
        cases: at least one.
    """

    model_sha256: str
    precision: str
    limit: Limit
    cases: tuple[ExpectedCase, ...]


def expected(values: np.ndarray, seed: int) -> Expected:
    """A true answer as it is stored.

    Args:
        values: of one output; float64 is rounded to float32.
        seed: of the places, for an output that is too large.
    """
    exact = values.dtype.kind != "f"
    numbers = values if exact else values.astype(np.float32)
    finite = numbers[np.isfinite(numbers)]
    largest = float(np.abs(finite.astype(np.float64)).max()) if finite.size else 0.0
    if values.size <= WHOLE or values.ndim <= 2:
        return Expected(values.shape, numbers, largest)
    sampling = Sampling(seed, SAMPLES)
    return Expected(values.shape, sampling.of(numbers), largest, sampling)
