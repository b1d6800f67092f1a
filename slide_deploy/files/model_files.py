"""The paths of models, before anybody opens them."""

from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.formats import find_format

# What ends the names of checkpoints, of their shards' indexes and of archives of training runs.
_CHECKPOINT_SUFFIXES = (
    *(".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl"),
    *(".index", ".json"),
)


def checkpoint_stem(path: Path) -> str:
    """What files that are written from a checkpoint are called, without their suffix."""
    name = path.resolve().name
    while name.endswith(_CHECKPOINT_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def is_checkpoint_name(path: Path) -> bool:
    """Whether a file is called as checkpoints are."""
    return path.name.endswith(_CHECKPOINT_SUFFIXES)


def _is_folder(path: Path) -> bool:
    """Whether files of this kind are folders."""
    format = find_format(path)
    return format is not None and format.is_folder


def require_model_file(path: Path) -> None:
    """Check that something is there, and a file where the format is no folder.

    Raises:
        InputError: if it is missing, a folder of a file's name, or no regular file.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check its name.")
    # Libraries would speak of parsing, of permissions or of another framework's folders.
    if path.is_dir() and not _is_folder(path):
        raise InputError(f"{path} is a folder: name the {path.suffix} file itself.")
    # A pipe would be waited for, and a device may have no end.
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is no regular file: copy the model into one.")
