"""Find further sizes at which the files of a network with open dimensions are verified."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from slide_deploy.deployable.inputs import BATCH_NAME
from slide_deploy.deployable.record import Deployable, resized, run
from slide_deploy.errors import InputError

# Differences to try. Networks take sizes that their strides divide.
_STEPS = (1, 2, 4, 8, 16, 32, 64)


def with_sizes(deployable: Deployable) -> Deployable:
    """Find further sizes of every open dimension that the network takes.

    Returns:
        The same network with ``sizes``: up to two per dimension, a larger and a smaller one. The
        only size of a batch is 3.

    Raises:
        InputError: if the network takes no other size of an open dimension.
    """
    base = _sizes(deployable)
    found: dict[str, tuple[int, ...]] = {}
    for name in deployable.open_names:
        if name == BATCH_NAME:
            candidates: list[Iterator[int]] = [iter((3,))]
        else:
            own = base[name]
            candidates = [
                iter([own + step for step in _STEPS]),
                iter([own - step for step in _STEPS if own - step >= 2]),
            ]
        taken = []
        reason = ""
        for each in candidates:
            for size in each:
                try:
                    _run(deployable, {name: size})
                except InputError as error:
                    reason = reason or str(error)
                    continue
                taken.append(size)
                break
        if not taken:
            raise InputError(
                f"{deployable.origin.name} takes no other {name} than {base[name]} ({reason}): "
                f"leave that size closed."
            )
        found[name] = tuple(taken)
    return replace(deployable, sizes=found)


def _sizes(deployable: Deployable) -> dict[str, int]:
    """Return the examples' size of each open dimension.

    Raises:
        InputError: if two dimensions with the same name have different sizes.
    """
    sizes: dict[str, int] = {}
    for each in deployable.inputs:
        for axis, name in each.open.items():
            size = each.example.shape[axis]
            if sizes.setdefault(name, size) != size:
                raise InputError(
                    f"The inputs have two sizes named {name}, {sizes[name]} and {size}: give them "
                    f"different names."
                )
    return sizes


def _run(deployable: Deployable, sizes: dict[str, int]) -> tuple[torch.Tensor, ...]:
    other = resized(deployable, sizes)
    return run(other.network(), [each.example for each in other.inputs])
