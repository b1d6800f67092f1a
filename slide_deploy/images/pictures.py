"""A picture file to eight-bit red, green and blue, as a person sees it.

Pillow's own conversion clips wide samples to white, drops transparency and leaves a photograph on
its side. Here

    rotation       is applied where the camera stored one
    transparency   lets a white page show through
    wide samples   are scaled: 16 bits to 8, and floating point from 0 to 1
    animations     give their first frame

Colour profiles are not applied, as in the training of ImageNet models.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slide_deploy.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# Pillow starts Ghostscript for the first, which runs the program that the file is; the second it
# hands to Windows. Of the others it shows nothing.
_NOT_READ = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG")
# Some copies of a picture stand side by side in memory, each of four bytes a pixel or more.
MOST_PIXELS = 1 << 26
# TIFF tags: whether 0 is white, and the bits of a sample.
_PHOTOMETRIC, _BITS = 262, 258


def readable_formats() -> tuple[str, ...]:
    """What Pillow calls the formats that are read."""
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NOT_READ)


def read_picture(path: Path) -> "Image":
    """Read a picture file of any format that Pillow knows.

    Returns:
        Mode RGB.

    Raises:
        InputError: if it is missing, damaged, no picture, absurdly large, or its samples have no
            known scale.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures, and of damaged notes beside the pixels.
            warnings.simplefilter("ignore")
            with Image.open(_regular(path), formats=readable_formats()) as opened:
                if opened.width * opened.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                return _seen(path, opened)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the name of the picture.") from error
    except (UnidentifiedImageError, IsADirectoryError) as error:
        raise InputError(f"{path} is not a picture that Pillow can read: convert it.") from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} is a picture of more than {MOST_PIXELS:,} pixels: make it smaller."
        ) from error
    except Exception as error:  # Pillow's readers raise whatever their parsers run into
        raise InputError(
            f"{path} cannot be read as a picture ({_reason(error)}): save it again as PNG or JPEG."
        ) from error


def _regular(path: Path) -> Path:
    """The path itself, if no pipe and no device is there, which have no end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is no regular file: name a picture.")
    return path


def _reason(error: Exception) -> str:
    """The first line of what a reader says, without a full stop; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" .:")


def _seen(path: Path, opened: "Image") -> "Image":
    """The first frame as a person sees it."""
    from PIL import Image

    opened.load()
    picture = _upright(opened)
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_scaled(path, opened, np.asarray(picture))).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    if picture.mode == "La":  # Pillow knows one way only out of greys multiplied by their alpha
        picture = picture.convert("LA")
    page = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(page, picture.convert("RGBA")).convert("RGB")


def _upright(opened: "Image") -> "Image":
    """The picture turned as the camera was; as it is where that note is damaged."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(opened)
    except Exception:  # the note is read by a parser of its own
        return opened


def _scaled(path: Path, opened: "Image", samples: np.ndarray) -> np.ndarray:
    """Wide grey samples as eight bits, black to white.

    Args:
        path: the file, for the message.
        opened: the picture, for what the file says of its samples.
        samples: (height, width), integers or floating point.

    Raises:
        InputError: if their largest value says no scale.
    """
    low, high = float(samples.min()), float(samples.max())
    limit = _largest(opened, samples.dtype, high)
    if not (low >= 0 and high <= limit):  # NaN is neither
        raise InputError(
            f"{path} has samples from {low:g} to {high:g}, and nothing says which of them is "
            f"white: save it with 8 or 16 bits a sample."
        )
    shares = samples.astype(np.float64)
    shares /= limit
    if _tag(opened, _PHOTOMETRIC) == 0:  # Pillow turns eight bits only
        np.subtract(1, shares, out=shares)
    # One sample may stand for transparent.
    transparent = opened.info.get("transparency")
    if isinstance(transparent, int):
        shares[samples == transparent] = 1
    shares *= 255
    return np.rint(shares, out=shares).astype(np.uint8)


def _largest(opened: "Image", dtype: np.dtype, high: float) -> float:
    """The sample that is white."""
    if dtype.kind == "f":
        # Floating point runs from 0 to 1, or holds what were bytes.
        return 1 if high <= 1 else 255
    bits = _tag(opened, _BITS)
    if bits is not None and bits <= 16:
        return 2**bits - 1
    # 32 bits have no usual scale; what fits into bytes were bytes.
    return 255 if bits is not None and high <= 255 else 65535


def _tag(opened: "Image", number: int) -> int | None:
    """A number that a TIFF file says of its samples; None in other formats."""
    value = getattr(opened, "tag_v2", {}).get(number)
    return value[0] if isinstance(value, tuple) else value
