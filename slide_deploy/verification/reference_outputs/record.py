"""The reference outputs of a file: cases with the trained network's outputs, and the limit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from slide_deploy.precisions import Limit
from slide_deploy.verification.cases import Case
from slide_deploy.verification.draws import Recipe, places

# Outputs with more than WHOLE numbers are feature maps: only SAMPLES of their numbers are stored.
# Logits, which have at most two axes, are always stored completely.
WHOLE, SAMPLES = 2**16, 2**12
# Numbers in the inputs of all cases together. Five images of 2048x2048 have fewer.
MAX_DRAWN = 2**26


@dataclass(frozen=True)
class Sampling:
    """The positions at which a large output is stored.

    Attributes:
        seed: seed of the positions.
        count: number of positions.
    """

    seed: int
    count: int

    def of(self, values: np.ndarray) -> np.ndarray:
        """The numbers of an array at these positions, in their order."""
        return values.reshape(-1)[places(self.seed, self.count, values.size)]


@dataclass(frozen=True)
class Expected:
    """The true values of one output.

    Attributes:
        shape: shape of the whole output.
        values: the whole output, or the sampled numbers; float32, rounded once, or integers.
        largest: largest absolute finite number of the whole output.
        sampling: the stored positions; None if the whole output is stored.
    """

    shape: tuple[int, ...]
    values: np.ndarray
    largest: float
    sampling: Sampling | None = None


@dataclass(frozen=True)
class ExpectedCase:
    """One case with its true outputs.

    Attributes:
        name: what the case tests.
        recipes: how to build each input in the file's layout, by the file's names.
        outputs: true outputs, by the file's names.
        stored: inputs that cannot be drawn, by name.
        rows: number of examples that run at a time; see ``Case.rows``.
    """

    name: str
    recipes: Mapping[str, Recipe]
    outputs: Mapping[str, Expected]
    stored: Mapping[str, np.ndarray] = field(default_factory=dict)
    rows: int | None = None

    @property
    def drawn(self) -> int:
        """The number of values in all inputs."""
        return sum(math.prod(each.shape) for each in self.recipes.values())

    @property
    def batch(self) -> int:
        """Size of the first axis of the first input, as ``Case.batch``."""
        handed = next(iter(self.recipes.values())).handed
        return handed[0] if handed else 1

    def case(self) -> Case:
        """Build the inputs of the case."""
        inputs = {
            name: recipe.tensor(self.stored.get(name)) for name, recipe in self.recipes.items()
        }
        return Case(self.name, inputs, self.rows)


@dataclass(frozen=True)
class Reference:
    """The outputs that a file must have.

    Attributes:
        model_sha256: hash of the file and its companions, see ``companions.model_digest``.
        precision: precision of the file, see ``slide_deploy.precisions``.
        limit: how far the file's outputs may be off.
        cases: at least one.
    """

    model_sha256: str
    precision: str
    limit: Limit
    cases: tuple[ExpectedCase, ...]


def expected(values: np.ndarray, seed: int) -> Expected:
    """Convert a true output to what is stored.

    Args:
        values: one output; float64 is rounded to float32.
        seed: seed of the sampled positions, for an output that is too large.
    """
    exact = values.dtype.kind != "f"
    numbers = values if exact else values.astype(np.float32)
    finite = numbers[np.isfinite(numbers)]
    largest = float(np.abs(finite.astype(np.float64)).max()) if finite.size else 0.0
    if values.size <= WHOLE or values.ndim <= 2:
        return Expected(values.shape, numbers, largest)
    sampling = Sampling(seed, SAMPLES)
    return Expected(values.shape, sampling.of(numbers), largest, sampling)
