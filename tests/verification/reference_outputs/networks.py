"""A numpy network with an odd image size, logits and a large feature map, as an open session."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from slide_deploy.backends.base import Feeds, Port, Session
from slide_deploy.precisions import Limit
from slide_deploy.verification.cases import Case
from slide_deploy.verification.draws import Frame, Recipe, normal, pixels, stored
from slide_deploy.verification.reference_outputs.record import ExpectedCase, Reference, expected

LIMIT = Limit(1e-4, 80.0)
SHAPE = (1, 3, 7, 5)
_WEIGHTS = np.random.default_rng(0).standard_normal((105, 11))
_LARGE = np.random.default_rng(1).standard_normal((105, 70_000))
Network = Callable[[np.ndarray], list[np.ndarray]]


def network(image: np.ndarray) -> list[np.ndarray]:
    """Logits (batch, 11), a feature map of 70,000 numbers per row, one number for the batch."""
    flat = image.astype(np.float64).reshape(len(image), -1)
    return [flat @ _WEIGHTS + 0.5, (flat @ _LARGE).reshape(-1, 7, 100, 100), np.array([4.0])]


@dataclass
class Calls:
    """A stream that calls a function."""

    call: Network
    ran: list[Feeds] = field(default_factory=list)

    def bind(self, feeds: Feeds) -> None:
        self._bound = dict(feeds)

    def run(self) -> None:
        self.ran.append(self._bound)
        self._given = self.call(self._bound["image"])

    def read(self) -> Sequence[np.ndarray]:
        return [each.astype(np.float32) for each in self._given]


def session(
    call: Network = network, shape: tuple[int | None, ...] = SHAPE, dtype: str = "float32"
) -> Session:
    ports = (Port("image", shape, dtype),)
    return Session("numpy", "1", ports, ("logits", "map", "one"), lambda: Calls(call))


def expected_case(name: str, recipe: Recipe, values: np.ndarray | None = None) -> ExpectedCase:
    kept = {} if values is None else {"image": values}
    image = recipe.tensor(values)
    named = dict(zip(("logits", "map", "one"), network(image), strict=True))
    outputs = {output: expected(value, 5) for output, value in named.items()}
    return ExpectedCase(name, {"image": recipe}, outputs, kept)


def reference(*cases: ExpectedCase) -> Reference:
    """Noise, a border, and an image that cannot be drawn; or the given cases."""
    drawn = normal(1, SHAPE, "float32")
    edge = Recipe(drawn.dtype, SHAPE, drawn.draw, Frame(1, 0.0))
    odd = np.linspace(-1, 1, 105, dtype=np.float32).reshape(SHAPE)
    usual = (
        expected_case("noise", drawn),
        expected_case("border", edge),
        expected_case("example", stored(odd), odd),
    )
    return Reference("0" * 64, "float32", LIMIT, cases or usual)


def examples(rows: int = 1, count: int = 4) -> ExpectedCase:
    """Images that run in groups and are compared together."""
    images = pixels(3, (count, *SHAPE[1:]), "uint8", 0, 256).tensor()
    case = Case("examples held back", {"image": images}, rows)
    outputs = case.run(lambda feeds: {"logits": network(feeds["image"])[0]})
    named = {name: expected(value, 5) for name, value in outputs.items()}
    return ExpectedCase(case.name, {"image": stored(images)}, named, {"image": images}, rows)
