"""Open files that take one image, and run pictures through them."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Port, Session
from slide_deploy.backends.opening import open_file
from slide_deploy.errors import InputError

# The largest input of any model here, a colour picture of 8192x8192, has 2**27.6 elements. A larger
# one comes from a damaged size.
MAX_INPUT_ELEMENTS = 2**28
# Normalised images are floats; pixels are uint8.
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

    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return every output for one image, by name. A fixed batch is filled with copies of it.

        Args:
            image: (1, channels, height, width).

        Raises:
            InputError: if the runtime refuses the image.
        """
        if not np.can_cast(image.dtype, self.image.dtype, "same_kind"):
            raise InputError(
                f"The file takes {self.image.dtype} images, not {image.dtype} ones: give it "
                f"pictures, as slide-deploy predict does."
            )
        images = np.repeat(image, self.image.shape[0] or 1, axis=0)
        return self.session({self.image.name: images})


def open_image_file(
    path: Path, precision: str = "float32", target: str | None = None
) -> ImageSession:
    """Open a file that takes images.

    Args:
        path: of the file.
        precision: of the file; the runtime computes in it if that is an option of the runtime.
        target: name of the target that runs it; None for the default target of the file.

    Raises:
        InputError: if the file is missing, of an unknown kind, cannot be loaded or takes no images.
    """
    session = open_file(path, precision, target)
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
