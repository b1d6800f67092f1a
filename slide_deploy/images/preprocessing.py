"""A picture to the tensor that a model was trained on: resize, crop the middle, normalise.

The short side is 256/224 of the image before the middle is cut out, as in ImageNet training. Mean
and deviation are those that the file says, or that are in the file, or those of ImageNet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slide_deploy.backends import ImageSession
from slide_deploy.errors import InputError
from slide_deploy.images.description import (
    DEVIATION,
    MEAN,
    WHITE,
    read_description,
)
from slide_deploy.images.pictures import read_picture
from slide_deploy.parsing import written

CROP = 224 / 256
# Of a picture after resizing. A long strip would become gigabytes.
_MAX_PIXELS = 2**28
_LARGEST_SIDE = 8192
_CHANNELS = 3


@dataclass(frozen=True)
class ImageInput:
    """How a picture is prepared for a file.

    Args:
        size: height and width.
        channels_last: whether the channels stand last.
        dtype: as numpy spells it.
        pixels: whether the file takes pixels from 0 to 255, not normalised ones.
        bgr: whether it takes their channels in the order blue, green, red.
        mean: of each channel, for files that take normalised pixels.
        deviation: the same.
    """

    size: tuple[int, int]
    channels_last: bool
    dtype: str
    pixels: bool
    bgr: bool = False
    mean: tuple[float, ...] = MEAN
    deviation: tuple[float, ...] = DEVIATION

    @classmethod
    def read(
        cls,
        shape: tuple[int | None, ...],
        dtype: str,
        pixels: bool,
        size: tuple[int, int] | None = None,
        channels_last: bool | None = None,
    ) -> "ImageInput":
        """What the shape and the type of an input ask for.

        Args:
            shape: of four sizes, None where one is open.
            dtype: as numpy spells it; uint8 is always pixels.
            pixels: whether another type is pixels too.
            size: height and width where the file leaves them open.
            channels_last: whether the channels stand last; None where only the shape tells.

        Raises:
            InputError: if it takes no colour pictures, or other sizes.
        """
        last = (
            channels_last
            if channels_last is not None
            else shape[1] != _CHANNELS and shape[3] == _CHANNELS
        )
        channels, *sides = (shape[3], *shape[1:3]) if last else shape[1:]
        shown = written(shape)
        if channels not in (_CHANNELS, None):
            raise InputError(
                f"The file takes images of {shown}: predict needs three channels, second or last."
            )
        if size is None and None in sides:
            raise InputError(
                f"The file takes images of {shown}, of any size: give --image-size 224, or that of "
                f"training."
            )
        chosen = size or (sides[0] or 0, sides[1] or 0)
        fits = all(side in (None, ours) for side, ours in zip(sides, chosen, strict=True))
        if not fits or not all(0 < side <= _LARGEST_SIDE for side in chosen):
            raise InputError(
                f"The file takes images of {shown}, not of {written(chosen)}: change --image-size."
            )
        return cls(chosen, last, dtype, pixels or dtype == "uint8")

    def load(self, path: Path) -> np.ndarray:
        """One picture, (1, 3, height, width) or (1, height, width, 3).

        Raises:
            InputError: if it is missing or no picture.
        """
        image = load_pixels(path, self.size)
        if not self.pixels:
            image = _normalised(image, self.mean, self.deviation)
        if self.bgr:
            image = image[..., ::-1]
        if not self.channels_last:
            image = image.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(image, dtype=self.dtype)

    def __str__(self) -> str:
        is_usual = (self.mean, self.deviation) == (MEAN, DEVIATION)
        values = (
            "pixels from 0 to 255"
            if self.pixels
            else "normalised as in ImageNet training"
            if is_usual
            else "normalised as the file says"
        )
        colours = "BGR" if self.bgr else "RGB"
        order = "NHWC" if self.channels_last else "NCHW"
        return f"middle of {written(self.size)}, {colours}, {values}, {self.dtype} {order}"


def image_input(file: ImageSession, size: tuple[int, int] | None = None) -> ImageInput:
    """How pictures are prepared for an opened file.

    Args:
        file: one that takes images.
        size: height and width where the file leaves them open.

    Raises:
        InputError: if it takes no colour pictures, or other sizes.
    """
    port = file.image
    described = read_description(file.session.metadata)
    if described is None or described.input != port.name:
        return ImageInput.read(port.shape, port.dtype, port.pixels, size)
    if len(described.mean) != _CHANNELS:
        raise InputError(
            f"The file takes images of {len(described.mean)} channels: pictures have three."
        )
    pixels, last = port.pixels or described.inside, described.layout == "nhwc"
    found = ImageInput.read(port.shape, port.dtype, pixels, size, last)
    bgr = described.order == "bgr"
    return replace(found, bgr=bgr, mean=described.mean, deviation=described.deviation)


def load_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read a picture for a model that was trained on normalised ones.

    Args:
        path: any format that Pillow reads.
        size: height and width that the model takes.

    Returns:
        (1, 3, height, width), float32.

    Raises:
        InputError: if it is missing or no picture.
    """
    image = _normalised(load_pixels(path, size), MEAN, DEVIATION)
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2))


def load_pixels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The middle of a picture, its pixels as they are.

    Args:
        path: any format that Pillow reads.
        size: height and width that the model takes.

    Returns:
        (1, height, width, 3), uint8.

    Raises:
        InputError: if it is missing or no picture.
    """
    from PIL import Image

    picture = read_picture(path)
    height, width = size
    scale = max(height / picture.height, width / picture.width) / CROP
    resized = (round(picture.width * scale), round(picture.height * scale))
    if resized[0] * resized[1] > _MAX_PIXELS:
        raise InputError(
            f"{path} is a strip of {picture.width}x{picture.height} pixels: cut out the part that "
            f"matters."
        )
    picture = picture.resize(resized, Image.Resampling.BICUBIC)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return np.asarray(picture.crop((left, top, left + width, top + height)))[None]


def _normalised(
    pixels: np.ndarray, mean: Sequence[float], deviation: Sequence[float]
) -> np.ndarray:
    """Pixels (n, height, width, 3) to what networks are trained on, float32."""
    means, deviations = (np.array(values, dtype=np.float32) for values in (mean, deviation))
    shares = pixels.astype(np.float32) / WHITE
    return np.asarray((shares - means) / deviations)
