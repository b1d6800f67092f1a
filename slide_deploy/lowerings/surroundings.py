"""Padding with copies of the feature map's own positions, written as slices.

    reflect   2 1 | 0 1 2 3 | 2 1        replicate   0 0 | 0 1 2 3 | 3 3
    circular  2 3 | 0 1 2 3 | 0 1

The projections of q, k and v read each position on its own. So the input of the attention is padded
once, before the projections, instead of the keys and the values. Every format has operators for
slices and concatenation; not every format has padding other than zeros.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from slide_deploy.errors import InputError


def refuse_small(size: Sequence[int], radius: int, mode: str) -> None:
    """Refuse a feature map that is too small for its padding.

    Args:
        size: height and width of the feature map.
        radius: positions to add on either side.
        mode: "reflect", "replicate" or "circular".

    Raises:
        InputError: the feature map is too small.
    """
    least = {"reflect": radius + 1, "circular": radius, "replicate": 1}[mode]
    if min(size) < least:
        raise InputError(
            f"A feature map of {size[0]}x{size[1]} cannot be padded by {radius} on either side in "
            f"mode {mode}: choose an image size that gives {least}x{least} or more."
        )


def surrounded(features: Tensor, axes: tuple[int, int], radius: int, mode: str) -> Tensor:
    """Pad feature maps with copies of their own positions.

    Args:
        features: feature maps in any layout.
        axes: the axes of the height and of the width.
        radius: positions to add on either side of each axis.
        mode: "reflect", "replicate" or "circular".

    Returns:
        Feature maps that are larger by ``2 * radius`` along both axes.

    Raises:
        InputError: the feature maps are too small.
    """
    refuse_small([features.shape[axis] for axis in axes], radius, mode)
    for axis in axes:
        size = features.shape[axis]
        before = [_copied(place, size, mode) for place in range(-radius, 0)]
        behind = [_copied(place, size, mode) for place in range(size, size + radius)]
        parts = [*_slices(features, axis, before), features, *_slices(features, axis, behind)]
        features = torch.cat(parts, dim=axis)
    return features


def _copied(place: int, size: int, mode: str) -> int:
    """Return the index inside the map whose value goes to the index ``place`` outside."""
    if mode == "circular":
        return place % size
    if mode == "replicate":
        return min(max(place, 0), size - 1)
    return -place if place < 0 else 2 * (size - 1) - place


def _slices(features: Tensor, axis: int, positions: Sequence[int]) -> Iterator[Tensor]:
    """Yield as few slices as possible that together are these positions in order."""
    first = 0
    for index in range(1, len(positions) + 1):
        if index < len(positions) and positions[index] == positions[index - 1] + 1:
            continue
        count = index - first
        # Core ML's converter lacks the operator of a full slice.
        whole = count == features.shape[axis]
        yield features if whole else features.narrow(axis, positions[first], count)
        first = index
