"""Class names: from a file with one on each line, or the built-in ones of ImageNet."""

from importlib.resources import files
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.reading import read_text

# The user gives this instead of a file.
IMAGENET = "imagenet"
_CLASSES = "imagenet_classes.tsv"


def imagenet_labels() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the order of training."""
    return _column(2)


def imagenet_synsets() -> tuple[str, ...]:
    """The synsets of ImageNet's classes (n01440764 and so on), in the same order."""
    return _column(1)


def _column(number: int) -> tuple[str, ...]:
    lines = files(__package__).joinpath(_CLASSES).read_text("utf-8").splitlines()
    return tuple(line.split("\t")[number] for line in lines if not line.startswith("#"))


def labels_named(given: str | Path) -> tuple[str, ...]:
    """Class names that a user chose: a file, or "imagenet" for the built-in ones.

    "imagenet" may be in any case. A file of that name is given as ./imagenet.

    Raises:
        InputError: the file cannot be read.
    """
    if str(given).lower() == IMAGENET:
        return imagenet_labels()
    return tuple(read_labels(Path(given)))


def read_labels(path: Path) -> list[str]:
    """Read class names from a file with one on each line; empty lines at its end are ignored.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        lines = read_text(path, "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as class names: give one name a line.") from (
            error
        )
    while lines and not lines[-1].strip():
        lines.pop()
    return lines
