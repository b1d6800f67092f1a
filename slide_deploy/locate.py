"""Where do a file and the model part? The first layer whose output is nowhere in the file.

A layer's output is looked for among all values of the file by content, not by name: any graph that
computes the layer holds its output somewhere, as tokens (positions, channels) or as a map
(channels, positions), whatever the exporter called it. Everything after a wrong layer is wrong too,
so the wrong layer is the first one behind the last that is found. A layer that a lowering merged
with the next one is not found although it is right; it stands before the last that is found, and so
does not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slide_deploy.precisions import FLOAT32


@dataclass(frozen=True)
class LayerOutput:
    """What a layer of the model answers.

    Args:
        name: of the module.
        value: for one image, (1, positions, channels), (1, classes) or any other shape.
        otherwise: what a file may hold in its place: the layer as a lowering leaves it.
    """

    name: str
    value: np.ndarray
    otherwise: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class Parting:
    """Where a file and the model part.

    Args:
        last_right: the last layer that is found in the file; None if none is.
        first_wrong: the first layer behind it; None if every layer is found.
        found: how many layers are found.
        layers: how many were looked for.
    """

    last_right: str | None
    first_wrong: str | None
    found: int
    layers: int


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
    last = max((index for index, right in enumerate(found) if right), default=-1)
    return Parting(
        last_right=layers[last].name if last >= 0 else None,
        first_wrong=layers[last + 1].name if last + 1 < len(layers) else None,
        found=sum(found),
        layers=len(layers),
    )


def _is_among(wanted: np.ndarray, candidates: Sequence[np.ndarray], same_db: float) -> bool:
    orders = [wanted.astype(np.float64).ravel()]
    if wanted.ndim >= 3:  # (positions, channels) as (channels, positions)
        orders.append(np.moveaxis(wanted.astype(np.float64), -1, 1).ravel())
    energy = float((orders[0] ** 2).sum())
    limit = energy / 10 ** (same_db / 10)
    for candidate in candidates:
        flat = candidate.astype(np.float64).ravel()
        # Written so that NaN is never the same.
        if any(float(((flat - order) ** 2).sum()) <= limit for order in orders):
            return True
    return False
