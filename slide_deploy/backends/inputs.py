"""Random inputs for a file, from what its runtime says of them.

Any number of inputs, of any type and rank. The open dimensions, which are None, are filled in:

- the first one is the batch,
- the others, and a first one that is no batch, are given by name: ``--shape NAME=1x3x224x224``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Configuration, Tensor
from slide_deploy.errors import InputError
from slide_deploy.input_shapes import refuse_other_shapes, written

# The type of pixels from 0 to 255.
PIXELS = "uint8"
# What numpy can draw and every runtime can take.
_TYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@dataclass(frozen=True)
class Described:
    """An input as the runtime describes it.

    Attributes:
        name: of the input.
        dtype: as numpy calls it, for example "float32".
        shape: None where the file leaves a dimension open.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


def sized(
    path: Path, inputs: Sequence[Described], configuration: Configuration
) -> tuple[Tensor, ...]:
    """Fill in the open dimensions.

    Raises:
        InputError: if one stays open, if a given shape contradicts the file, if the file has
            another batch than the configuration, or an input of a type that cannot be drawn.
    """
    declared = {described.name: described.shape for described in inputs}
    refuse_other_shapes(path, declared, configuration.shapes)
    tensors = []
    for described in inputs:
        if described.dtype not in _TYPES:
            raise InputError(
                f"{path} takes {described.name} of type {described.dtype}, which the benchmark "
                f"cannot draw: export it with inputs of {', '.join(_TYPES[:3])} or integers."
            )
        shape = _shape(path, described, configuration)
        tensors.append(Tensor(described.name, described.dtype, shape))
    _refuse_another_batch(path, inputs, tensors, configuration)
    return tuple(tensors)


def random_arrays(tensors: Sequence[Tensor]) -> dict[str, Any]:
    """An array for each input, fresh and the same every time, whatever the order of the inputs.

    Floating point is standard normal. Images of uint8 are noise from 0 to 255. Other integers are 0
    or 1: an index into whatever has two entries.
    """
    arrays = {}
    for tensor in tensors:
        generator = np.random.default_rng(list(tensor.name.encode()))
        if tensor.dtype.startswith("float"):
            drawn: Any = generator.standard_normal(tensor.shape)
        else:
            is_image = tensor.dtype == PIXELS and len(tensor.shape) == 4
            drawn = generator.integers(0, 256 if is_image else 2, tensor.shape)
        arrays[tensor.name] = np.asarray(drawn, dtype=tensor.dtype, order="C")
    return arrays


def _shape(path: Path, described: Described, configuration: Configuration) -> tuple[int, ...]:
    given = configuration.shapes.get(described.name)
    if given is not None:
        return tuple(given)
    sizes = []
    for index, size in enumerate(described.shape):
        if size is None and index > 0:
            raise InputError(
                f"{path} leaves dimension {index} of {described.name} open "
                f"({written(described.shape)}): give --shape "
                f"{described.name}={written(_example(described, configuration))}."
            )
        sizes.append(configuration.batch if size is None else size)
    return tuple(sizes)


def _refuse_another_batch(
    path: Path,
    inputs: Sequence[Described],
    tensors: Sequence[Tensor],
    configuration: Configuration,
) -> None:
    """One input at least must have the batch first: throughput counts on it.

    Other inputs may have any first dimension: a table beside the images, say.
    """
    batch = configuration.batch
    if any(tensor.shape and tensor.shape[0] == batch for tensor in tensors):
        return
    shaped = [described for described in inputs if described.shape]
    if not shaped and batch == 1:
        return
    if any(described.shape[0] is None for described in shaped):
        raise InputError(
            f"{path}: no --shape has the batch of {batch} first: change --batch or --shape."
        )
    fixed = shaped[0].shape[0] if shaped else 1
    raise InputError(
        f"{path} has a fixed batch of {fixed}, not {batch}: export it with --dynamic-batch, or "
        f"give --batch {fixed}."
    )


def _example(described: Described, configuration: Configuration) -> tuple[int, ...]:
    """Sizes that look like an image's, for the message."""
    plausible = (configuration.batch, 3, 224, 224)
    return tuple(
        plausible[min(index, 3)] if size is None else size
        for index, size in enumerate(described.shape)
    )
