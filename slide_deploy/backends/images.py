"""A file that takes one image: what pictures are given to."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Port, Session
from slide_deploy.backends.opening import open_file
from slide_deploy.errors import InputError

# A colour picture of 8192x8192, the largest that any model here takes, has 2**27.6 numbers. A
# larger input comes from a damaged size.
MAX_INPUT_ELEMENTS = 2**28
# Normalised images, and pixels as they are.
IMAGE_TYPES = ("float32", "float16", "float64", "uint8")


@dataclass(frozen=True)
class ImageSession:
    """A session of a file whose one input is an image.

    Attributes:
        session: of the file.
        image: its input, (batch, channels, height, width).
    """

    session: Session
    image: Port

    def answers(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Every output for one image, as the file gives it; a fixed batch is filled with the image.

        Args:
            image: one image, its batch of 1 included.

        Raises:
            InputError: if the runtime refuses the image.
        """
        if not np.can_cast(image.dtype, self.image.dtype, "same_kind"):
            raise InputError(
                f"The file takes {self.image.dtype} images and not {image.dtype} ones: give it "
                f"pictures, as slide-deploy predict does."
            )
        images = np.repeat(image, self.image.shape[0] or 1, axis=0)
        return self.session({self.image.name: images})


def open_image_file(path: Path, precision: str = "float32") -> ImageSession:
    """Load a file that takes images on the runtime that runs it here.

    Args:
        path: of the file.
        precision: of the file: the runtime computes in it where it can be told so.

    Raises:
        InputError: if it is missing, of an unknown kind, cannot be loaded or takes anything else.
    """
    session = open_file(path, precision)
    if len(session.inputs) != 1:
        names = ", ".join(port.name for port in session.inputs)
        raise InputError(f"{path} takes {names}: expected one input, an image.")
    (image,) = session.inputs
    if len(image.shape) != 4:
        raise InputError(
            f"{path} takes an input of rank {len(image.shape)}: expected images (batch, channels, "
            f"height, width)."
        )
    if image.dtype not in IMAGE_TYPES:
        raise InputError(
            f"{path} takes an input of {image.dtype}: expected images of {', '.join(IMAGE_TYPES)}."
        )
    sizes = [size for size in image.shape if size is not None]
    if min(sizes, default=1) < 1 or math.prod(sizes) > MAX_INPUT_ELEMENTS:
        shown = "x".join("?" if size is None else str(size) for size in image.shape)
        raise InputError(f"{path} takes an input of {shown}, no image: export the model again.")
    return ImageSession(session, image)
