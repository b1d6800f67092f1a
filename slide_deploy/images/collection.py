"""Many pictures as people have them: a folder for each class, a table of paths, or a plain folder.

==============  ====================================================================
folders         a folder for each class, as ImageNet's; pictures at any depth below
table           a CSV file: the path of a picture, and its class as a name or a number
flat            pictures in one folder, whose classes nobody says
==============  ====================================================================

The order is that of the names, the same on every machine. What is no picture by its name is counted
and left out; what is one and cannot be read is found out later, when it is read.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.images.picture_table import read_table
from slide_deploy.images.pictures import readable_formats

# What systems put beside a user's folders.
_NOT_CLASSES = (".", "__", "@")


@dataclass(frozen=True)
class Picture:
    """One picture of a collection.

    Attributes:
        name: its path below the collection, with forward slashes.
        path: where it lies.
        label: its class as the folder or the table has it; None where nobody says.
    """

    name: str
    path: Path
    label: str | None = None


@dataclass(frozen=True)
class Collection:
    """Pictures in their order.

    Attributes:
        source: the folder or the table.
        layout: "folders", "table" or "flat".
        pictures: in the order of their names.
        labels: every class that was found, sorted; a folder without pictures is one too.
        others: how many other files were left out.
    """

    source: Path
    layout: str
    pictures: tuple[Picture, ...]
    labels: tuple[str, ...] = ()
    others: int = 0

    @property
    def has_labels(self) -> bool:
        """Whether the class of every picture is known."""
        return self.layout != "flat" and all(each.label is not None for each in self.pictures)

    @property
    def digest(self) -> str:
        """SHA-256 of the names and classes in their order; of no picture's content."""
        lines = (f"{each.name}\0{each.label or ''}\n" for each in self.pictures)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def sample(self, count: int, seed: int = 0) -> "Collection":
        """So many of the pictures, drawn by chance and the same everywhere; all if there are fewer.

        The draw goes by a hash of each name: it needs no generator of random numbers, and a
        picture more in the folder changes at most one of those that are drawn.

        Args:
            count: of pictures to keep.
            seed: another one draws others.

        Raises:
            InputError: if none is asked for.
        """
        if count < 1:
            raise InputError(f"--sample {count} takes no picture: give 1 or more.")
        drawn = sorted(self.pictures, key=lambda each: _lot(each.name, seed))[:count]
        kept = set(drawn)
        return replace(self, pictures=tuple(each for each in self.pictures if each in kept))


def _lot(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()


def read_collection(source: Path) -> Collection:
    """Find the pictures of a folder or of a table.

    Args:
        source: a folder with a folder for each class, or with pictures; or a CSV file.

    Raises:
        InputError: if it is missing, cannot be read, or has no picture.
    """
    try:
        source.stat()
    except FileNotFoundError as error:
        raise InputError(
            f"{source} does not exist: name a folder of pictures, or a CSV file."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source} cannot be read ({getattr(error, 'strerror', error)}): name a folder of "
            f"pictures, or a CSV file."
        ) from error
    if source.is_dir():
        return _of_folder(source)
    rows = read_table(source)
    pictures = tuple(
        sorted(
            (Picture(name, source.parent / name, label) for name, label in rows),
            key=lambda each: each.name,
        )
    )
    if not any(os.path.exists(each.path) for each in pictures):
        raise InputError(
            f"{source} names {pictures[0].name} and other pictures that are not there: give paths "
            f"from the folder of the table."
        )
    return Collection(source, "table", pictures, _sorted_labels(pictures))


def _of_folder(source: Path) -> Collection:
    entries = _listed(source)
    inside = [each for each in entries if os.path.isdir(each)]
    loose = [each for each in entries if not os.path.isdir(each)]
    # A link to where the classes lie is none of them: it would give all pictures another label.
    above = _above(source)
    real = {each: os.path.realpath(each) for each in inside if _is_class(each.name)}
    folders = [each for each, place in real.items() if place not in above]
    own = {real[each] for each in folders if not each.is_symlink()}
    found: list[Picture] = []
    others = 0
    for folder in folders:
        closed = above | (own - {real[folder]})
        for path in _walked(folder, closed):
            if is_picture(path):
                name = path.relative_to(source).as_posix()
                found.append(Picture(name, path, folder.name))
            else:
                others += 1
    if found:
        pictures = tuple(sorted(found, key=lambda each: each.name))
        labels = tuple(sorted(each.name for each in folders))
        return Collection(source, "folders", pictures, labels, others + len(loose))
    pictures = tuple(Picture(each.name, each) for each in loose if is_picture(each))
    if not pictures:
        raise InputError(
            f"{source} has no picture: give a folder with one folder for each class, a folder of "
            f"pictures, or a CSV file of path,label."
        )
    return Collection(source, "flat", pictures, others=others + len(loose) - len(pictures))


def _sorted_labels(pictures: tuple[Picture, ...]) -> tuple[str, ...]:
    return tuple(sorted({each.label for each in pictures if each.label is not None}))


def _is_class(name: str) -> bool:
    return not name.startswith(_NOT_CLASSES)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=lambda each: each.name)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}): make it readable, or move it away."
        ) from error


def _above(source: Path) -> set[str]:
    """The real paths of a folder and of all folders around it."""
    place = Path(os.path.realpath(source))
    return {str(each) for each in (place, *place.parents)}


def _walked(folder: Path, closed: set[str]) -> Iterator[Path]:
    """Every file below a folder; links to folders are followed, and no folder is entered twice.

    Args:
        folder: where to begin.
        closed: real paths of folders that are not entered.
    """
    entered = set(closed)
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        place = os.path.realpath(here)
        if place in entered:
            continue
        entered.add(place)
        for each in _listed(here):
            if not os.path.isdir(each):
                yield each
            elif _is_class(each.name):
                waiting.append(each)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by the end of its name, or by its first bytes without one."""
    if path.name.startswith("."):
        return False
    if path.suffix:
        return path.suffix.lower() in _suffixes()
    from PIL import Image

    try:
        if not path.is_file():
            return False
        with Image.open(path, formats=readable_formats()):
            return True
    except Exception:  # Pillow's readers raise whatever their parsers run into
        return False


@functools.cache
def _suffixes() -> frozenset[str]:
    """What the names of pictures that Pillow reads end in."""
    from PIL import Image

    known = Image.registered_extensions()
    readable = set(readable_formats())
    return frozenset(suffix for suffix, format in known.items() if format in readable)
