"""Describe the inputs of a Core ML model from its specification."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slide_deploy.backends.base import Port
from slide_deploy.backends.inputs import PIXELS
from slide_deploy.errors import InputError

# Channels of GRAYSCALE; every other colour space of pictures has three.
_GREY = 10
# Values of ``ArrayFeatureType.ArrayDataType`` in Core ML's FeatureTypes.proto.
_TYPES = {65568: "float32", 65600: "float64", 65552: "float16", 131104: "int32", 131080: "int8"}


def described(path: Path, features: Iterable[Any]) -> list[Port]:
    """Describe each input; a size is open if the specification allows several.

    A picture input is (1, channels, height, width) of uint8. No array input of Core ML is uint8.

    Raises:
        InputError: if an input is neither an array nor a picture.
    """
    inputs = []
    for feature in features:
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            shape = _picture(feature.type.imageType)
            inputs.append(Port(feature.name, shape, PIXELS, pixels=True))
            continue
        if kind != "multiArrayType":
            raise InputError(
                f"{path} takes {feature.name} as {kind}, which the benchmark cannot generate: "
                f"export it with arrays as inputs."
            )
        array = feature.type.multiArrayType
        dtype = _TYPES.get(array.dataType, f"number {array.dataType}")
        inputs.append(Port(feature.name, _shape(array), dtype))
    return inputs


def _picture(image: Any) -> tuple[int | None, ...]:
    is_open = image.WhichOneof("SizeFlexibility") is not None
    sizes = (None, None) if is_open else (int(image.height), int(image.width))
    return (1, 1 if image.colorSpace == _GREY else 3, *sizes)


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
