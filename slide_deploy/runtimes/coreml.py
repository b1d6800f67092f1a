"""Core ML, on macOS."""

from pathlib import Path

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.runtimes.base import Session


def load(path: Path) -> Session:
    """Load an ``.mlpackage`` on the CPU, which computes float32 programs in float32.

    Raises:
        InputError: if Core ML refuses the file.
    """
    import coremltools

    try:
        model = coremltools.models.MLModel(
            str(path), compute_units=coremltools.ComputeUnit.CPU_ONLY
        )
    except Exception as error:  # the bridge to Core ML raises whatever the framework reports
        raise InputError(f"{path} does not load on Core ML ({error}).") from error
    description = model.get_spec().description
    image, logits = description.input[0], description.output[0].name
    array = image.type.multiArrayType
    shape: tuple[int | None, ...] = tuple(array.shape)
    if array.WhichOneof("ShapeFlexibility"):
        shape = (None, *shape[1:])

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict({image.name: images})[logits], dtype=np.float32)

    return Session("coreml", coremltools.__version__, shape, run)
