"""Open a ``.tflite`` file for the backend: LiteRT returns no metadata and other tensor names."""

from functools import partial
from pathlib import Path

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.saved.tflite.model import Model


def opened(path: Path) -> Model:
    """Open a file.

    Raises:
        InputError: if it cannot be read or is damaged.
    """
    try:
        content = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise InputError(f"{path} cannot be read ({error}).") from error
    return Model(content, partial(_damaged, path))


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged: {what}; copy or export the file again.")
