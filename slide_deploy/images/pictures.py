"""Read an image file as 8-bit RGB, as an image viewer shows it.

Pillow's own conversion clips samples of more than 8 bits to white, drops transparency and ignores
the rotation of photographs. Here

    rotation       is applied if the camera stored one
    transparency   shows a white background
    wide samples   are scaled: 16 bits to 8, and floating point from 0 to 1
    animations     are read as their first frame

Colour profiles are not applied, as in the training of ImageNet models.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slide_deploy.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow runs Ghostscript on EPS, which executes the file as a program, and passes WMF to Windows.
# It only identifies the others.
_NOT_READ = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG")
# Memory holds several copies of an image at once, of four bytes a pixel or more each.
MOST_PIXELS = 1 << 26
# TIFF tags: whether 0 is white, and the bits of a sample.
_PHOTOMETRIC, _BITS = 262, 258


def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read."""
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NOT_READ)


def read_picture(path: Path) -> "Image":
    """Read an image file of any format that Pillow reads.

    Returns:
        An image of mode RGB.

    Raises:
        InputError: if it is missing, damaged, no picture, absurdly large, or its samples have no
            known scale.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and of damaged metadata.
            warnings.simplefilter("ignore")
            with Image.open(_regular(path), formats=readable_formats()) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                return _seen(path, opened)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the name of the image.") from error
    except (UnidentifiedImageError, IsADirectoryError) as error:
        raise InputError(
            f"{path} is not an image that Pillow can read: convert it to PNG or JPEG."
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} is an image of more than {MOST_PIXELS:,} pixels: make it smaller."
        ) from error
    except Exception as error:  # Pillow's readers raise whatever their parsers run into
        raise InputError(
            f"{path} cannot be read as an image ({_reason(error)}): save it again as PNG or JPEG."
        ) from error


def _regular(path: Path) -> Path:
    """The path itself; refuses a pipe or a device, which may have no end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is not a regular file: give an image file.")
    return path


def _reason(error: Exception) -> str:
    """The first line of an error's message, without a full stop; its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .:")


def _seen(path: Path, opened: "Image") -> "Image":
    """The first frame in RGB: upright, on white, with wide samples scaled."""
    from PIL import Image

    opened.load()
    picture = _upright(opened)
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_scaled(path, opened, np.asarray(picture))).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    if picture.mode == "La":  # Pillow converts premultiplied grey to LA only
        picture = picture.convert("LA")
    page = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(page, picture.convert("RGBA")).convert("RGB")


def _upright(opened: "Image") -> "Image":
    """The image with the camera's rotation applied; unchanged if the EXIF data are damaged."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(opened)
    except Exception:  # Pillow's EXIF parser raises many types
        return opened


def _scaled(path: Path, opened: "Image", samples: np.ndarray) -> np.ndarray:
    """Scale wide grey samples to 8 bits, from black to white.

    Args:
        path: the file, for the message.
        opened: the image, for the metadata of its samples.
        samples: (height, width), integers or floating point.

    Raises:
        InputError: no scale is known for their largest value.
    """
    low, high = float(samples.min()), float(samples.max())
    limit = _largest(opened, samples.dtype, high)
    if not (low >= 0 and high <= limit):  # NaN is neither
        raise InputError(
            f"{path} has samples from {low:g} to {high:g}, and their scale is unknown: save it "
            f"with 8 or 16 bits a sample."
        )
    shares = samples.astype(np.float64)
    shares /= limit
    if _tag(opened, _PHOTOMETRIC) == 0:  # Pillow turns eight bits only
        np.subtract(1, shares, out=shares)
    # One value may mean transparent.
    transparent = opened.info.get("transparency")
    if isinstance(transparent, int):
        shares[samples == transparent] = 1
    shares *= 255
    return np.rint(shares, out=shares).astype(np.uint8)


def _largest(opened: "Image", dtype: np.dtype, high: float) -> float:
    """The value of a white sample."""
    if dtype.kind == "f":
        # Floating-point samples range from 0 to 1, or were converted from bytes.
        return 1 if high <= 1 else 255
    bits = _tag(opened, _BITS)
    if bits is not None and bits <= 16:
        return 2**bits - 1
    # 32 bits have no common scale; numbers up to 255 were bytes.
    return 255 if bits is not None and high <= 255 else 65535


def _tag(opened: "Image", number: int) -> int | None:
    """The value of a TIFF tag; None in other formats."""
    value = getattr(opened, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) else value
