"""What stands outside the map where that is not zeros: copies of positions inside, by slices.

    reflect   2 1 | 0 1 2 3 | 2 1        replicate   0 0 | 0 1 2 3 | 3 3
    circular  2 3 | 0 1 2 3 | 0 1

The projections of q, k and v read each position alone. So the input of an attention is surrounded
once, before them, in place of its keys and its values. A concatenation of slices is an operator of
every format, which padding by anything but zeros is not.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from slide_deploy.errors import InputError


def refuse_small(size: Sequence[int], radius: int, mode: str) -> None:
    """Refuse a map that has too few positions to surround itself.

    Args:
        size: height and width of the map.
        radius: positions to add on either side.
        mode: "reflect", "replicate" or "circular".

    Raises:
        InputError: if the map is too small.
    """
    least = {"reflect": radius + 1, "circular": radius, "replicate": 1}[mode]
    if min(size) < least:
        raise InputError(
            f"A map of {size[0]}x{size[1]} cannot be padded by {radius} on either side in mode "
            f"{mode}: give maps of {least}x{least} or larger."
        )


def surrounded(maps: Tensor, axes: tuple[int, int], radius: int, mode: str) -> Tensor:
    """Surround maps by copies of their positions.

    Args:
        maps: of any layout.
        axes: those of the height and of the width.
        radius: positions to add on either side of each axis.
        mode: "reflect", "replicate" or "circular".

    Returns:
        Maps that are larger by ``2 * radius`` along both axes.

    Raises:
        InputError: if the map is too small.
    """
    refuse_small([maps.shape[axis] for axis in axes], radius, mode)
    for axis in axes:
        size = maps.shape[axis]
        before = [_copied(place, size, mode) for place in range(-radius, 0)]
        behind = [_copied(place, size, mode) for place in range(size, size + radius)]
        parts = [*_slices(maps, axis, before), maps, *_slices(maps, axis, behind)]
        maps = torch.cat(parts, dim=axis)
    return maps


def _copied(place: int, size: int, mode: str) -> int:
    """The position inside that stands at a place outside."""
    if mode == "circular":
        return place % size
    if mode == "replicate":
        return min(max(place, 0), size - 1)
    return -place if place < 0 else 2 * (size - 1) - place


def _slices(maps: Tensor, axis: int, positions: Sequence[int]) -> Iterator[Tensor]:
    """Slices that hold these positions one after the other, as few as possible."""
    first = 0
    for index in range(1, len(positions) + 1):
        if index < len(positions) and positions[index] == positions[index - 1] + 1:
            continue
        count = index - first
        # A slice of everything is an operator that Core ML's converter lacks.
        whole = count == maps.shape[axis]
        yield maps if whole else maps.narrow(axis, positions[first], count)
        first = index
