"""The inputs and outputs that a model declares to applications, with their allowed sizes.

Shapes here may be ranges or lists of choices. In the program itself such a size is only unknown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Range:
    """The sizes that a flexible dimension may have.

    Attributes:
        low: smallest size.
        high: largest size; None if there is no limit.
    """

    low: int
    high: int | None

    def __contains__(self, size: int) -> bool:
        """Return whether the dimension may have this size."""
        return self.low <= size and (self.high is None or size <= self.high)


Size: TypeAlias = int | Range


@dataclass(frozen=True, slots=True)
class Feature:
    """An input or an output in the model's description.

    Attributes:
        name: for applications.
        kind: ``array`` or ``image``; otherwise the description's type, ``dictionary`` for example.
        dtype: element type of an array, ``uint8`` for an image, else empty.
        shape: one size per dimension; (channels, height, width) for an image.
        choices: the allowed shapes, if the description enumerates them.
        colours: channel order of an image, ``RGB``, ``BGR`` or ``L`` for grey; else empty.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[Size, ...]
    choices: tuple[tuple[int, ...], ...] = ()
    colours: str = ""


_ARRAY_DTYPES = {
    65568: "float32",
    65600: "float64",
    131104: "int32",
    131080: "int8",
    65552: "float16",
}
# GRAYSCALE, GRAYSCALE_FLOAT16 and BGR; every other colour space is RGB.
_COLOURS = {10: "L", 40: "L", 30: "BGR"}


def read_features(messages: Iterable[Any]) -> tuple[Feature, ...]:
    """Return the features of ``FeatureDescription`` messages, in their order."""
    return tuple(_feature(message) for message in messages)


def _feature(message: Any) -> Feature:
    kind = message.type.WhichOneof("Type") or "unknown"
    if kind == "multiArrayType":
        return _array(message.name, message.type.multiArrayType)
    if kind == "imageType":
        return _image(message.name, message.type.imageType)
    return Feature(message.name, kind.removesuffix("Type"), "", ())


def _array(name: str, message: Any) -> Feature:
    choices = tuple(tuple(shape.shape) for shape in message.enumeratedShapes.shapes)
    shape: tuple[Size, ...] = tuple(message.shape)
    if choices:
        shape = _spanned(choices)
    elif message.WhichOneof("ShapeFlexibility") == "shapeRange":
        shape = _ranges(message.shapeRange.sizeRanges)
    return Feature(name, "array", _ARRAY_DTYPES.get(message.dataType, ""), shape, choices)


def _image(name: str, message: Any) -> Feature:
    colours = _COLOURS.get(message.colorSpace, "RGB")
    channels = len(colours)
    sizes = message.enumeratedSizes.sizes
    choices = tuple((channels, size.height, size.width) for size in sizes)
    shape: tuple[Size, ...] = (channels, message.height, message.width)
    if choices:
        shape = _spanned(choices)
    elif message.WhichOneof("SizeFlexibility") == "imageSizeRange":
        limits = message.imageSizeRange
        shape = (channels, *_ranges((limits.heightRange, limits.widthRange)))
    return Feature(name, "image", "uint8", shape, choices, colours)


def _ranges(limits: Sequence[Any]) -> tuple[Size, ...]:
    """Return one size per dimension; a negative upper bound means no limit."""
    return tuple(
        _size(limit.lowerBound, limit.upperBound if limit.upperBound >= 0 else None)
        for limit in limits
    )


def _spanned(choices: tuple[tuple[int, ...], ...]) -> tuple[Size, ...]:
    """Return the range of all choices for each dimension; () if their ranks differ."""
    if len({len(choice) for choice in choices}) != 1:
        return ()
    return tuple(_size(min(sizes), max(sizes)) for sizes in zip(*choices, strict=True))


def _size(low: int, high: int | None) -> Size:
    return low if low == high else Range(low, high)
