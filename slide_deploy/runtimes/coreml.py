"""Core ML, on macOS."""

from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.runtimes.base import Feeds, Port, Session


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
    outputs = tuple(output.name for output in description.output)

    def run(feeds: Feeds) -> list[np.ndarray]:
        answers = model.predict(dict(feeds))
        return [np.asarray(answers[name]) for name in outputs]

    ports = tuple(_port(each) for each in description.input)
    return Session("coreml", coremltools.__version__, ports, outputs, run)


def _port(described: Any) -> Port:
    import coremltools

    array = described.type.multiArrayType
    types = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType
    dtypes = {types.FLOAT16: "float16", types.DOUBLE: "float64", types.INT32: "int32"}
    shape: tuple[int | None, ...] = tuple(array.shape)
    ranges = array.shapeRange.sizeRanges
    if ranges:
        shape = tuple(
            None if each.lowerBound != each.upperBound else size
            for size, each in zip(shape, ranges, strict=True)
        )
    elif array.WhichOneof("ShapeFlexibility"):  # one of several shapes
        shape = (None, *shape[1:])
    return Port(described.name, shape, dtypes.get(array.dataType, "float32"))
