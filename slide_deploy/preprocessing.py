"""A picture to the tensor that a model was trained on: resize, crop the middle, normalise.

The numbers are those of ImageNet training: channel means and deviations of its pixels, and a short
side of 256/224 of the image before the middle is cut out.
"""

from pathlib import Path

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.pictures import read_picture

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
CROP = 224 / 256
# Of a picture after resizing. A long strip would become gigabytes.
_MAX_PIXELS = 2**28


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
    pixels = load_pixels(path, size).astype(np.float32) / 255.0
    mean, deviation = (np.array(values, dtype=np.float32) for values in (MEAN, DEVIATION))
    normalised = (pixels - mean) / deviation
    return np.ascontiguousarray(normalised.transpose(0, 3, 1, 2))


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
