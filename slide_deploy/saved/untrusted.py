"""Errors, paths and memory maps of untrusted model files."""

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.errors import InputError


def damaged(model: Path, what: str) -> InputError:
    """The error for a model whose bytes contradict each other; ``what`` is a clause."""
    return InputError(f"{model} is damaged: {what}; copy or export it again.")


def file_inside(model: Path, folder: Path, name: str, purpose: str) -> Path:
    """The regular file at ``name`` in a folder, symbolic links resolved.

    Args:
        model: the file or folder that the user named, for messages.
        folder: the folder that the file must be inside.
        name: a path below it, from a file of the model.
        purpose: of the file, for messages: "its weight file" for example.

    Raises:
        InputError: the name is absolute, leads out of the folder, or leads to no regular file.
    """
    outside = InputError(
        f"{model} names {name[:80]!r} as {purpose}, which is not inside the folder of the "
        f"model: do not use it, or copy all of its files into one folder."
    )
    if name.startswith("/") or "\\" in name or ":" in name:
        raise outside
    try:
        root = folder.resolve(strict=True)
        found = (root / name).resolve()
        exists, is_file = found.exists(), found.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # NUL in the name, loop of links
        raise damaged(model, f"{purpose} {name[:80]!r} is missing") from error
    if not found.is_relative_to(root):
        raise outside
    if not exists:
        raise damaged(model, f"{purpose} {name[:80]!r} is missing")
    if not is_file:
        raise damaged(model, f"{purpose} {name[:80]!r} is not a file")
    return found


def map_file(model: Path, path: Path) -> NDArray[np.uint8]:
    """Map the bytes of a file of a model, read-only; the system loads them on first access.

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
