"""The path of a written model, before anybody opens it."""

from pathlib import Path

from slide_deploy.errors import InputError


def require_model_file(path: Path) -> None:
    """Check that something is there, and a file where the format is no folder.

    Raises:
        InputError: if it is missing, or a folder of a file's name.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check its name.")
    # Libraries would speak of parsing, of permissions or of another framework's folders.
    if path.is_dir() and path.suffix.lower() != ".mlpackage":
        raise InputError(f"{path} is a folder: name the {path.suffix} file itself.")
