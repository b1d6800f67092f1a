"""Data files that a model file refers to; only those in or below its folder are read."""

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.readers.limits import damaged, short


def beside(model: Path, location: str) -> Path:
    """The regular file at ``location`` in the folder of ``model``, symbolic links resolved.

    Raises:
        InputError: the name is absolute, leads out of the folder, or leads to no regular file.
    """
    outside = InputError(
        f"{model} names {short(location)!r} as its data, which is not inside the folder of the "
        f"model: do not use it, or copy both files into one folder."
    )
    if Path(location).is_absolute() or "\\" in location or ":" in location:
        raise outside
    try:
        folder = model.parent.resolve(strict=True)
        found = (folder / location).resolve()
        exists, is_file = found.exists(), found.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # NUL in the name, loop of links
        raise damaged(model, f"its data file {short(location)!r} cannot be found") from error
    if not found.is_relative_to(folder):
        raise outside
    if not exists:
        raise damaged(model, f"its data file {short(location)!r} is missing")
    if not is_file:
        raise damaged(model, f"its data {short(location)!r} is not a file")
    return found


def map_file(model: Path, path: Path) -> NDArray[np.uint8]:
    """Map the bytes of a file, read-only; the system loads them on first access.

    Args:
        model: the file that the user named, for messages.
        path: the file to map.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            if path.stat().st_size == 0:  # cannot be mapped
                return np.empty(0, np.uint8)
            return np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{model} cannot be read, {path.name}: {reason}; check its permissions."
        ) from error
