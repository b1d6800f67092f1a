"""Texts that are written whole or not at all."""

import os
from pathlib import Path

from slide_deploy.errors import InputError


def require_folder(path: Path | None) -> None:
    """Refuse a place that cannot be written to, before minutes are spent on what goes there.

    Raises:
        InputError: if its folder is missing, or it is a folder itself.
    """
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise InputError(f"{path} cannot be written: name a file in a folder that exists.")


def write_text(path: Path, text: str) -> None:
    """Write a text; a file that is there is replaced as a whole.

    Raises:
        InputError: if it cannot be written.
    """
    # In the same folder: a rename is atomic within one file system only.
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(
            f"{path} cannot be written: {error.strerror}; check its folder."
        ) from error
