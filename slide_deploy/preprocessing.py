"""A picture file to the tensor that the model was trained on: resize, crop the middle, normalise.

The numbers are those of ImageNet training: channel means and deviations of its pixels, and a short
side of 256/224 of the image before the middle is cut out.
"""

from pathlib import Path

import numpy as np

from slide_deploy.errors import InputError

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
CROP = 224 / 256


def load_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read a picture for a model.

    Args:
        path: any format that Pillow reads.
        size: height and width that the model takes.

    Returns:
        (1, 3, height, width), float32.

    Raises:
        InputError: if it is missing or no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the name of the picture.") from error
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a picture that Pillow can read: convert it.") from error
    height, width = size
    scale = max(height / picture.height, width / picture.width) / CROP
    resized = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(resized, Image.Resampling.BICUBIC)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    picture = picture.crop((left, top, left + width, top + height))
    pixels = np.asarray(picture, dtype=np.float32) / 255.0
    mean, deviation = (np.array(values, dtype=np.float32) for values in (MEAN, DEVIATION))
    normalised = (pixels - mean) / deviation
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])
