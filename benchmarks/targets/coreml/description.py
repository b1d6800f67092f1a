"""The inputs of a Core ML model, from its specification."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.targets.inputs import Described
from slide_deploy.errors import InputError

# Values of ``ArrayFeatureType.ArrayDataType`` in Core ML's FeatureTypes.proto.
_TYPES = {65568: "float32", 65600: "float64", 65552: "float16", 131104: "int32", 131080: "int8"}


def described(path: Path, features: Iterable[Any]) -> list[Described]:
    """Each input, open where the specification allows several sizes.

    Raises:
        InputError: if an input is no array: a picture, say.
    """
    inputs = []
    for feature in features:
        kind = feature.type.WhichOneof("Type")
        if kind != "multiArrayType":
            raise InputError(
                f"{path} takes {feature.name} as {kind}, which the benchmark cannot draw: export "
                f"it with arrays as inputs."
            )
        array = feature.type.multiArrayType
        dtype = _TYPES.get(array.dataType, f"number {array.dataType}")
        inputs.append(Described(feature.name, dtype, _shape(array)))
    return inputs


def _shape(array: Any) -> tuple[int | None, ...]:
    flexibility = array.WhichOneof("ShapeFlexibility")
    if flexibility == "shapeRange":
        return tuple(
            int(size.lowerBound) if size.lowerBound == size.upperBound else None
            for size in array.shapeRange.sizeRanges
        )
    if flexibility == "enumeratedShapes":
        shapes = [tuple(shape.shape) for shape in array.enumeratedShapes.shapes]
        return tuple(
            int(sizes[0]) if len(set(sizes)) == 1 else None for sizes in zip(*shapes, strict=True)
        )
    return tuple(int(size) for size in array.shape)
