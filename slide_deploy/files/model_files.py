"""Checks of model paths, before the files are opened."""

from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.formats import find_format

# Suffixes of checkpoints, of indexes of their shards and of archives of training runs.
_CHECKPOINT_SUFFIXES = (
    *(".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".tar", ".pkl"),
    *(".index", ".json"),
)


def checkpoint_stem(path: Path) -> str:
    """Return the name, without suffix, of the files that are exported from a checkpoint."""
    if is_source(path):
        return path.stem
    name = path.resolve().name
    while name.endswith(_CHECKPOINT_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def is_source(path: Path) -> bool:
    """Whether a path names an exported file that networks are read from."""
    format = find_format(path)
    return format is not None and format.is_source


def refuse_final(path: Path) -> None:
    """Refuse a file of a format that networks are not read from.

    Raises:
        InputError: it is one. The message says what to give instead.
    """
    format = find_format(path)
    if format is not None and not format.is_source:
        raise InputError(
            f"{path} is a file of the format {format.name}, which no network can be read from: "
            f"give the checkpoint or the .onnx file that it was written from."
        )


def is_checkpoint_name(path: Path) -> bool:
    """Whether a file has the suffix of a checkpoint."""
    return path.name.endswith(_CHECKPOINT_SUFFIXES)


def _is_folder(path: Path) -> bool:
    """Whether models of this format are folders."""
    format = find_format(path)
    return format is not None and format.is_folder


def require_model_file(path: Path) -> None:
    """Check that a model exists, and that it is a folder only if its format is.

    Raises:
        InputError: it is missing, a folder instead of a file, or not a regular file.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check its name.")
    # Errors of libraries would name parsing, permissions or the folders of another framework.
    if path.is_dir() and not _is_folder(path):
        raise InputError(f"{path} is a folder: name the {path.suffix} file itself.")
    # Reading a pipe would block, and a device may never end.
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path} is not a regular file: copy the model into one.")
