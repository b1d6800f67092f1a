"""Where do a file and the model part? The first layer whose output is nowhere in the file.

A layer's output is looked for among all values of the file by content, not by name: any graph that
computes the layer holds its output somewhere, as tokens (positions, channels) or as a map
(channels, positions), whatever the exporter called it. Everything that is computed from a wrong
layer is wrong too. So a layer that is not found is right all the same where one that is found was
computed from it: a lowering merged it with the next one. The first of the others is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slide_deploy.precisions import FLOAT32

if TYPE_CHECKING:
    from slide_deploy.verification.noise import LayerNoise


@dataclass(frozen=True)
class LayerOutput:
    """What a layer of the model answers.

    Args:
        name: of the module.
        value: for one image, (1, positions, channels), (1, classes) or any other shape.
        otherwise: what a file may hold in its place: the layer as a lowering leaves it.
        ancestors: places of the layers that it was computed from; None for all in front of it.
        is_answered: whether an answer of the network is known to be computed from it.
        is_norm: whether it is a normalisation, whose weights may be in what reads it.
        source: place of the layer whose output it reads, as it is; None if that is no layer's.
        reads: what it reads, where that is no layer's output; None where nobody knows.
        is_container: whether it is made of layers that are listed as well.
    """

    name: str
    value: np.ndarray
    otherwise: tuple[np.ndarray, ...] = ()
    ancestors: frozenset[int] | None = None
    is_answered: bool = False
    is_norm: bool = False
    source: int | None = None
    reads: np.ndarray | None = None
    is_container: bool = False


@dataclass(frozen=True)
class Parting:
    """Where a file and the model part.

    Args:
        last_right: the last layer that is found in the file, of those in front of the first wrong
            one where there is such; None if none is.
        first_wrong: the first layer that is wrong; None if there is none.
        found: how many layers are found.
        layers: how many were looked for.
        noise: of each layer of a quantised file; empty for others.
    """

    last_right: str | None
    first_wrong: str | None
    found: int
    layers: int
    noise: "tuple[LayerNoise, ...]" = ()


def part(
    layers: Sequence[LayerOutput],
    values: Mapping[str, np.ndarray],
    same_db: float = FLOAT32.layer_db,
) -> Parting:
    """Find the first layer that a file computes differently.

    Args:
        layers: outputs of the model in the order of execution, for one image.
        values: every value of the file for the same image, by name.
        same_db: signal-to-noise ratio from which two tensors count as the same.
    """
    by_size: dict[int, list[np.ndarray]] = {}
    for value in values.values():
        by_size.setdefault(value.size, []).append(value)
    found = [
        any(
            _is_among(value, by_size.get(value.size, []), same_db)
            for value in (layer.value, *layer.otherwise)
        )
        for layer in layers
    ]
    places = [place for place, is_found in enumerate(found) if is_found]
    right = set(places)
    for place in places:
        ancestors = layers[place].ancestors
        right |= set(range(place)) if ancestors is None else ancestors
    last = places[-1] if places else -1
    # What no answer needs is in no file, and is not looked for in front of what is found.
    wrong = (
        place
        for place, layer in enumerate(layers)
        if place not in right and (layer.is_answered or place > last)
    )
    first = next(wrong, len(layers))
    before = [place for place in places if place < first]
    return Parting(
        last_right=layers[before[-1]].name if before else None,
        first_wrong=layers[first].name if first < len(layers) else None,
        found=sum(found),
        layers=len(layers),
    )


def _is_among(wanted: np.ndarray, candidates: Sequence[np.ndarray], same_db: float) -> bool:
    orders = in_orders(wanted)
    energy = float((orders[0] ** 2).sum())
    limit = energy / 10 ** (same_db / 10)
    for candidate in candidates:
        flat = candidate.astype(np.float64).ravel()
        # Written so that NaN is never the same.
        if any(float(((flat - order) ** 2).sum()) <= limit for order in orders):
            return True
    return False


def in_orders(wanted: np.ndarray) -> list[np.ndarray]:
    """A tensor as a row of numbers in float64, as files may hold it: as it is, and as a map."""
    orders = [wanted.astype(np.float64).ravel()]
    if wanted.ndim >= 3:  # (positions, channels) as (channels, positions)
        orders.append(np.moveaxis(wanted.astype(np.float64), -1, 1).ravel())
    return orders
