"""A ``.tflite`` file for whoever runs it: LiteRT tells no metadata, and names tensors otherwise."""

from functools import partial
from pathlib import Path

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.saved.tflite.model import Model


def opened(path: Path) -> Model:
    """A file taken apart.

    Raises:
        InputError: if it cannot be read or is damaged.
    """
    try:
        content = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:  # an empty file has no map
        raise InputError(f"{path} cannot be read ({error}).") from error
    return Model(content, partial(_damaged, path))


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged: {what}; copy or export the file again.")
