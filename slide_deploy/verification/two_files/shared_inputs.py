"""Make inputs that two files take, from the shapes and types that both declare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slide_deploy.backends import Port
from slide_deploy.backends.base import BFLOAT16
from slide_deploy.backends.inputs import PIXELS
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.errors import InputError
from slide_deploy.parsing import written
from slide_deploy.verification.two_files.index_range import index_count
from slide_deploy.verification.two_files.pairing import OpenedFile, Pairing, unlike

# The second batch at which files with an open batch are compared.
_BATCH = 3


@dataclass(frozen=True)
class SharedInputs:
    """Inputs that two files take.

    Attributes:
        inputs: under the names of the judged file; pictures as (batch, channels, height, width).
        sizes: further sizes to compare at, by the name of the open size.
    """

    inputs: tuple[Input, ...]
    sizes: Mapping[str, Sequence[int]]


def shared_inputs(
    file: OpenedFile, reference: OpenedFile, pairing: Pairing, given: Sequence[Input]
) -> SharedInputs:
    """Make an input for each pair, with the narrower type of the two.

    An open first size is the batch: 1, and 3 for a second comparison.

    Args:
        file: the judged file.
        reference: the file that it is compared with.
        pairing: how their interfaces correspond.
        given: inputs that the user gave, by their name in either file; an empty name is that of the
            only input. Examples with different numbers are used as they are.

    Raises:
        InputError: if a size besides the batch is open and not given, or a given input does not
            fit.
    """
    named = _named(file, reference, pairing, given)
    inputs = tuple(
        _shared(file, reference, port, other, named.get(port.name))
        for port, other in pairing.inputs
    )
    is_open = any(BATCH_NAME in each.open.values() for each in inputs)
    return SharedInputs(inputs, {BATCH_NAME: (_BATCH,)} if is_open else {})


def _named(
    file: OpenedFile, reference: OpenedFile, pairing: Pairing, given: Sequence[Input]
) -> dict[str, Input]:
    """The given inputs by the names of the judged file."""
    names = {other.name: port.name for port, other in pairing.inputs}
    names |= {port.name: port.name for port, _ in pairing.inputs}
    if len(pairing.inputs) == 1:
        names[""] = pairing.inputs[0][0].name
    found: dict[str, Input] = {}
    for each in given:
        if each.name not in names:
            known = ", ".join(port.name for port, _ in pairing.inputs)
            what = f"have no input {each.name}" if each.name else "have several inputs"
            raise InputError(
                f"{file.path} and {reference.path} {what}: name one of {known} in --input."
            )
        found[names[each.name]] = each
    return found


def _shared(
    file: OpenedFile, reference: OpenedFile, port: Port, other: Port, given: Input | None
) -> Input:
    dtype = _narrower(port, other)
    if dtype is None:
        raise unlike(file, reference)
    shape = tuple(
        size if size is not None else fixed
        for size, fixed in zip(port.shape, other.shape, strict=True)
    )
    if given is None:
        example, open_sizes = np.zeros(_sizes(file, port, shape), dtype), _open_batch(shape)
    else:
        example = _as_given(file, port, shape, given).astype(dtype)
        open_sizes = _open_batch(shape) if 0 in given.open else {}
    shared = Input(port.name, example, open_sizes, pixels=_takes_pixels(port, other, dtype))
    if shared.pixels or shared.varies or example.dtype.kind not in "iu":
        return shared
    count = min(
        index_count(file.graph, port.name),
        index_count(reference.graph, other.name),
        int(np.iinfo(dtype).max) + 1,
    )
    return replace(shared, values=np.arange(count).astype(dtype))


def _narrower(port: Port, other: Port) -> str | None:
    """The type whose numbers both inputs represent; None if neither has all of the other's."""
    ours, theirs = ("float32" if each.dtype == BFLOAT16 else each.dtype for each in (port, other))
    if np.can_cast(ours, theirs, "safe"):
        return ours
    return theirs if np.can_cast(theirs, ours, "safe") else None


def _takes_pixels(port: Port, other: Port, dtype: str) -> bool:
    """Whether both declare pixels, or take the type and the rank of pictures."""
    return (port.pixels and other.pixels) or (dtype == PIXELS and len(port.shape) == 4)


def _open_batch(shape: Sequence[int | None]) -> dict[int, str]:
    return {0: BATCH_NAME} if shape and shape[0] is None else {}


def _sizes(file: OpenedFile, port: Port, shape: Sequence[int | None]) -> tuple[int, ...]:
    """The shape with a batch of 1.

    Raises:
        InputError: if another size is open.
    """
    sizes = []
    for axis, size in enumerate(shape):
        if size is None and axis:
            likely = (1, 3, 224, 224)
            fitting = [
                likely[min(place, 3)] if each is None else each for place, each in enumerate(shape)
            ]
            raise InputError(
                f"{file.path} leaves size {axis} of {port.name} open ({written(shape)}): give "
                f"--input {port.name}={written(fitting)}."
            )
        sizes.append(1 if size is None else size)
    return tuple(sizes)


def _as_given(
    file: OpenedFile, port: Port, shape: Sequence[int | None], given: Input
) -> np.ndarray:
    sizes = given.example.shape
    fits = len(sizes) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, sizes, strict=True)
    )
    if not fits:
        raise InputError(
            f"{file.path} takes {port.name} as {written(shape)}, not {written(sizes)}: change "
            f"--input {port.name}."
        )
    return given.example
