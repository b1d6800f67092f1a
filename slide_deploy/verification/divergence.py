"""Find the first layer that a file computes differently from the model.

A layer's output is searched by content among all values of the file, because names differ. Any
graph that computes the layer holds its output somewhere, either as tokens (positions, channels) or
as a feature map (channels, positions). Everything that depends on a wrong layer is wrong too. So a
layer that is missing in the file still counts as right if a layer that depends on it is found: the
exporter merged it into another one. The first of the remaining layers is the divergence.
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
    """The output of one layer of the model.

    Args:
        name: name of the module.
        value: output for one image: (1, positions, channels), (1, classes) or any other shape.
        alternatives: arrays that a file may hold instead, because a pass rewrote the layer.
        ancestors: indices of the layers it was computed from; None for all layers before it.
        reaches_output: whether an output of the network is known to depend on it.
        is_norm: whether it is a normalisation, whose weights a pass may move into its readers.
        source: index of the layer whose output it reads directly; None if it reads none.
        reads: its input if that is no layer's output; None if unknown.
        is_container: whether it consists of layers that are listed as well.
    """

    name: str
    value: np.ndarray
    alternatives: tuple[np.ndarray, ...] = ()
    ancestors: frozenset[int] | None = None
    reaches_output: bool = False
    is_norm: bool = False
    source: int | None = None
    reads: np.ndarray | None = None
    is_container: bool = False


@dataclass(frozen=True)
class Divergence:
    """Where a file diverges from the model.

    Args:
        last_right: the last layer before the divergence that is found in the file; None if no
            layer is found there.
        first_wrong: the first layer that is wrong; None if all are right.
        found: number of layers found in the file.
        layers: number of layers searched.
        noise: noise of each layer of a quantised file; empty for other files.
        searched: what the names and numbers above count: layers of a network, or values of a file.
    """

    last_right: str | None
    first_wrong: str | None
    found: int
    layers: int
    noise: "tuple[LayerNoise, ...]" = ()
    searched: str = "layers"


def first_divergence(
    layers: Sequence[LayerOutput],
    values: Mapping[str, np.ndarray],
    same_db: float = FLOAT32.layer_db,
) -> Divergence:
    """Find the first layer that a file computes differently.

    Args:
        layers: outputs of the model's layers in the order of execution, for one image.
        values: every value of the file for the same image, by name.
        same_db: signal-to-noise ratio in dB from which two arrays count as equal.
    """
    by_size: dict[int, list[np.ndarray]] = {}
    for value in values.values():
        by_size.setdefault(value.size, []).append(value)
    found = [
        any(
            _is_among(value, by_size.get(value.size, []), same_db)
            for value in (layer.value, *layer.alternatives)
        )
        for layer in layers
    ]
    places = [place for place, is_found in enumerate(found) if is_found]
    right = set(places)
    for place in places:
        ancestors = layers[place].ancestors
        right |= set(range(place)) if ancestors is None else ancestors
    last = places[-1] if places else -1
    # A layer that no output depends on is in no file, so it is not searched before the last match.
    wrong = (
        place
        for place, layer in enumerate(layers)
        if place not in right and (layer.reaches_output or place > last)
    )
    first = next(wrong, len(layers))
    before = [place for place in places if place < first]
    return Divergence(
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
        # The comparison is false for NaN, so NaN never counts as equal.
        if any(float(((flat - order) ** 2).sum()) <= limit for order in orders):
            return True
    return False


def in_orders(wanted: np.ndarray) -> list[np.ndarray]:
    """Flatten an array in float64 in both orders that files use: as it is, and channels first."""
    orders = [wanted.astype(np.float64).ravel()]
    if wanted.ndim >= 3:  # (positions, channels) as (channels, positions)
        orders.append(np.moveaxis(wanted.astype(np.float64), -1, 1).ravel())
    return orders
