"""Settle the open sizes of a file's inputs, and draw random inputs.

A file may have any number of inputs, of any type and rank. Open dimensions, which are None, are
filled in:

- an open first dimension gets the batch size,
- any other open dimension, or a first one that is not the batch, is given by ``--shape
  NAME=1x3x224x224``.

If the configuration sets no batch size, open dimensions stay open.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import BFLOAT16, Configuration, Port
from slide_deploy.errors import InputError
from slide_deploy.parsing import refuse_other_shapes, written

# The dtype of pixels from 0 to 255.
PIXELS = "uint8"
# Dtypes that numpy can draw and every runtime takes.
_TYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


def sized(path: Path, inputs: Sequence[Port], configuration: Configuration) -> tuple[Port, ...]:
    """Return the inputs with open dimensions filled in, if the configuration sets a batch size.

    Raises:
        InputError: if a dimension stays open, a given shape contradicts the file, the file fixes
            another batch size than the configuration, or an input has a dtype that cannot be drawn.
    """
    declared = {described.name: described.shape for described in inputs}
    refuse_other_shapes(path, declared, configuration.shapes)
    if configuration.batch is None:
        shapes = configuration.shapes
        return tuple(replace(each, shape=shapes.get(each.name, each.shape)) for each in inputs)
    found = []
    for described in inputs:
        if described.dtype not in _TYPES:
            raise InputError(
                f"{path} takes {described.name} of type {described.dtype}, which the benchmark "
                f"cannot generate: export it with inputs of {', '.join(_TYPES[:3])} or integers."
            )
        found.append(replace(described, shape=_shape(path, described, configuration)))
    _refuse_another_batch(path, inputs, found, configuration)
    return tuple(found)


def random_arrays(inputs: Sequence[Port]) -> dict[str, Any]:
    """Return a new array for each input, the same on every call and in any order of the inputs.

    Floating-point values are standard normal. Images of uint8 are noise from 0 to 255. Other
    integers are 0 or 1, which are valid indices into any axis of at least two entries.

    Args:
        inputs: their sizes should be settled; an open size becomes 1.
    """
    arrays = {}
    for port in inputs:
        generator = np.random.default_rng(list(port.name.encode()))
        dtype = "float32" if port.dtype == BFLOAT16 else port.dtype
        shape = drawn_shape(port)
        if dtype.startswith("float"):
            drawn: Any = generator.standard_normal(shape)
        else:
            is_image = dtype == PIXELS and len(shape) == 4
            drawn = generator.integers(0, 256 if is_image else 2, shape)
        arrays[port.name] = np.asarray(drawn, dtype=dtype, order="C")
    return arrays


def drawn_shape(port: Port) -> tuple[int, ...]:
    """Return the shape that `random_arrays` uses for an input."""
    return tuple(1 if size is None else size for size in port.shape)


def _shape(path: Path, described: Port, configuration: Configuration) -> tuple[int | None, ...]:
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
    inputs: Sequence[Port],
    found: Sequence[Port],
    configuration: Configuration,
) -> None:
    """Refuse inputs of which none has the batch size first, because throughput is computed from it.

    The other inputs may have any first dimension, for example a table beside the images.
    """
    batch = configuration.batch
    if any(port.shape and port.shape[0] == batch for port in found):
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


def _example(described: Port, configuration: Configuration) -> tuple[int, ...]:
    """Return plausible sizes of an image, as an example for the message."""
    plausible = (configuration.images, 3, 224, 224)
    return tuple(
        plausible[min(index, 3)] if size is None else size
        for index, size in enumerate(described.shape)
    )
