"""Preprocess an image as in training: resize, crop the centre, normalise.

Before the crop, the short side is 256/224 of the crop size, as in ImageNet evaluation. Mean and
deviation come from the file's description, or else are those of ImageNet.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slide_deploy.backends import ImageSession
from slide_deploy.errors import InputError
from slide_deploy.images.description import DEVIATION, MEAN, WHITE, read_description
from slide_deploy.images.pictures import read_picture
from slide_deploy.parsing import written

CROP = 224 / 256
# Of a resized image. A long, narrow one would take gigabytes.
_MAX_PIXELS = 2**28
_LARGEST_SIDE = 8192
_CHANNELS = 3


@dataclass(frozen=True)
class ImageInput:
    """How an image is preprocessed for a file.

    Args:
        size: height and width in pixels.
        channels_last: whether the channel axis is last.
        dtype: numpy's name of the input's type.
        pixels: whether the file takes pixels from 0 to 255 instead of normalised ones.
        bgr: whether the channel order is blue, green, red.
        mean: of each channel, for files that take normalised pixels.
        deviation: standard deviation of each channel, likewise.
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
        """The preprocessing that the shape and the type of an input require.

        Args:
            shape: four sizes; None for an open one.
            dtype: numpy's name; uint8 always means pixels.
            pixels: whether other types mean pixels as well.
            size: height and width, if the file leaves them open.
            channels_last: whether the channel axis is last; None infers it from the shape.

        Raises:
            InputError: the input takes no colour images, or images of other sizes.
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
                f"The file takes images of {shown}, of any size: give the size of training, such "
                f"as --image-size 224."
            )
        chosen = size or (sides[0] or 0, sides[1] or 0)
        fits = all(side in (None, ours) for side, ours in zip(sides, chosen, strict=True))
        if not fits or not all(0 < side <= _LARGEST_SIDE for side in chosen):
            raise InputError(
                f"The file takes images of {shown}, not of {written(chosen)}: change --image-size."
            )
        return cls(chosen, last, dtype, pixels or dtype == "uint8")

    def load(self, path: Path) -> np.ndarray:
        """Read and preprocess one image, (1, 3, height, width) or (1, height, width, 3).

        Raises:
            InputError: the file is missing or is not an image.
        """
        image = load_pixels(path, self.size)
        if not self.pixels:
            mean, deviation = np.array((self.mean, self.deviation), dtype=np.float32)
            image = (image.astype(np.float32) / WHITE - mean) / deviation
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
            else "normalised as the file describes"
        )
        colours = "BGR" if self.bgr else "RGB"
        order = "NHWC" if self.channels_last else "NCHW"
        return f"middle of {written(self.size)}, {colours}, {values}, {self.dtype} {order}"


def image_input(file: ImageSession, size: tuple[int, int] | None = None) -> ImageInput:
    """The preprocessing for an opened file.

    Raises:
        InputError: the file takes no colour images, or images of other sizes.
    """
    port = file.image
    described = read_description(file.session.metadata)
    if described is None or described.input != port.name:
        return ImageInput.read(port.shape, port.dtype, port.pixels, size)
    if len(described.mean) != _CHANNELS:
        raise InputError(
            f"The file takes images of {len(described.mean)} channels: predict needs three."
        )
    pixels, last = port.pixels or described.inside, described.layout == "nhwc"
    found = ImageInput.read(port.shape, port.dtype, pixels, size, last)
    bgr = described.order == "bgr"
    return replace(found, bgr=bgr, mean=described.mean, deviation=described.deviation)


def load_pixels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read the centre crop of an image, without normalisation.

    Args:
        path: an image of any format that Pillow reads.
        size: height and width that the model takes.

    Returns:
        (1, height, width, 3), uint8.

    Raises:
        InputError: the file is missing or is not an image.
    """
    from PIL import Image

    picture = read_picture(path)
    height, width = size
    scale = max(height / picture.height, width / picture.width) / CROP
    resized = (round(picture.width * scale), round(picture.height * scale))
    if resized[0] * resized[1] > _MAX_PIXELS:
        raise InputError(
            f"{path} is too long and narrow, {picture.width}x{picture.height} pixels: crop it to "
            f"the part that matters."
        )
    picture = picture.resize(resized, Image.Resampling.BICUBIC)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return np.asarray(picture.crop((left, top, left + width, top + height)))[None]
