"""Core ML, on macOS."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.mlpackage import open_package
from slide_deploy.mlpackage.features import read_features
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
    package = open_package(path)
    # A classifier's most probable class is left out, and its dictionary is an array here.
    outputs = tuple(feature.name for feature in package.outputs)
    pictures = {feature.name for feature in package.inputs if feature.kind == "image"}

    def run(feeds: Feeds) -> list[np.ndarray]:
        given = {
            name: as_picture(values) if name in pictures else values
            for name, values in feeds.items()
        }
        answers = model.predict(given)
        return [_array(answers[name], package.classes) for name in outputs]

    ports = tuple(_port(each) for each in description.input)
    metadata = dict(model.user_defined_metadata)
    return Session("coreml", coremltools.__version__, ports, outputs, run, metadata)


def as_picture(values: np.ndarray) -> Any:
    """Pixels (1, channels, height, width) as the picture that Core ML takes.

    Raises:
        InputError: if there are several.
    """
    from PIL import Image

    if values.shape[0] != 1:
        raise InputError(f"Core ML takes one picture at a time, not {values.shape[0]}.")
    pixels = np.ascontiguousarray(values[0].transpose(1, 2, 0), dtype=np.uint8)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _array(answer: Any, classes: Sequence[str]) -> np.ndarray:
    """An output as an array; the dictionary of a classifier in the order of its classes."""
    if isinstance(answer, dict):
        return np.array([[answer[name] for name in classes]], dtype=np.float32)
    return np.asarray(answer)


def _port(described: Any) -> Port:
    import coremltools

    if described.type.WhichOneof("Type") == "imageType":
        (feature,) = read_features([described])
        sizes = (size if isinstance(size, int) else None for size in feature.shape)
        return Port(described.name, (1, *sizes), "uint8", pixels=True)
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
