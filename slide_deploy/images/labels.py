"""Names of classes: from a file with one a line, or those of ImageNet, which are built in."""

from importlib.resources import files
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.reading import read_text

# What the user writes in the place of a file.
IMAGENET = "imagenet"
_CLASSES = "imagenet_classes.tsv"


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 names of ImageNet's classes, in the order in which networks are trained."""
    return _column(2)


def imagenet_synsets() -> tuple[str, ...]:
    """The synsets of ImageNet's classes, n01440764 and so on, in the same order."""
    return _column(1)


def _column(number: int) -> tuple[str, ...]:
    lines = files(__package__).joinpath(_CLASSES).read_text("utf-8").splitlines()
    return tuple(line.split("\t")[number] for line in lines if not line.startswith("#"))


def labels_named(given: str | Path) -> tuple[str, ...]:
    """Names of classes that a user asks for: those of a file, or "imagenet" for ImageNet's.

    ImageNet may be spelled in any case; a file of that name is given as ./imagenet.

    Raises:
        InputError: if the file cannot be read.
    """
    if str(given).lower() == IMAGENET:
        return imagenet_labels()
    return tuple(read_labels(Path(given)))


def read_labels(path: Path) -> list[str]:
    """Names of classes from a file with one a line; empty lines at its end are none.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        lines = read_text(path, "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable list of names: give one name a line.") from (
            error
        )
    while lines and not lines[-1].strip():
        lines.pop()
    return lines
