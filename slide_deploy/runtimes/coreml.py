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
    image = description.input[0]
    outputs = tuple(output.name for output in description.output)
    array = image.type.multiArrayType
    shape: tuple[int | None, ...] = tuple(array.shape)
    if array.WhichOneof("ShapeFlexibility"):
        shape = (None, *shape[1:])

    def run(images: np.ndarray) -> list[np.ndarray]:
        answers = model.predict({image.name: images})
        return [np.asarray(answers[name], dtype=np.float32) for name in outputs]

    types = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType
    dtype = {types.FLOAT16: "float16", types.DOUBLE: "float64"}.get(array.dataType, "float32")
    return Session("coreml", coremltools.__version__, shape, outputs, run, dtype)
