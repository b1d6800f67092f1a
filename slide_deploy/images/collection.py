"""Sets of images in the layouts that are in use.

==============  ====================================================================
folders         a folder for each class, as in ImageNet; images at any depth below it
table           a CSV file with the path of each image, and its class as a name or a number
flat            images in one folder, without classes
==============  ====================================================================

Images are sorted by name, so the order is the same on every machine. Other files are counted and
left out by their names. An unreadable image fails later, when it is read.
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

# Beginnings of the names of folders that operating systems and tools create.
_NOT_CLASSES = (".", "__", "@")


@dataclass(frozen=True)
class Picture:
    """One image of a collection.

    Attributes:
        name: path below the collection, with forward slashes.
        path: path of the file.
        label: class, as the folder or the table names it; None if it is unknown.
    """

    name: str
    path: Path
    label: str | None = None


@dataclass(frozen=True)
class Collection:
    """A set of images.

    Attributes:
        source: the folder or the table.
        layout: "folders", "table" or "flat".
        pictures: images, sorted by name.
        labels: every class, sorted, including those of folders without images.
        others: number of other files, which were left out.
    """

    source: Path
    layout: str
    pictures: tuple[Picture, ...]
    labels: tuple[str, ...] = ()
    others: int = 0

    @property
    def has_labels(self) -> bool:
        """Whether the class of every image is known."""
        return self.layout != "flat" and all(each.label is not None for each in self.pictures)

    @property
    def digest(self) -> str:
        """SHA-256 of names and classes in their order, without the contents of the images."""
        lines = (f"{each.name}\0{each.label or ''}\n" for each in self.pictures)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def sample(self, count: int, seed: int = 0) -> "Collection":
        """Draw a random sample that is the same on every machine; all images if there are fewer.

        Images are ordered by a hash of their names. So the sample does not depend on a random
        number generator, and one more image in the folder changes at most one drawn image.

        Raises:
            InputError: ``count`` is less than 1.
        """
        if count < 1:
            raise InputError(f"--sample {count} draws no image: give 1 or more.")
        drawn = sorted(self.pictures, key=lambda each: _rank(each.name, seed))[:count]
        kept = set(drawn)
        return replace(self, pictures=tuple(each for each in self.pictures if each in kept))


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()


def read_collection(source: Path) -> Collection:
    """Find the images of a folder or of a table.

    Args:
        source: a folder with a folder for each class, a folder with images, or a CSV file.

    Raises:
        InputError: it is missing, cannot be read, or has no image.
    """
    try:
        source.stat()
    except FileNotFoundError as error:
        raise InputError(
            f"{source} does not exist: give a folder of images, or a CSV file."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{source} cannot be read ({getattr(error, 'strerror', error)}): give a folder of "
            f"images, or a CSV file."
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
            f"{source} lists {pictures[0].name} and other images that do not exist: give paths "
            f"relative to the folder of the table."
        )
    labels = tuple(sorted({each.label for each in pictures if each.label is not None}))
    return Collection(source, "table", pictures, labels)


def _of_folder(source: Path) -> Collection:
    entries = _listed(source)
    inside = [each for each in entries if os.path.isdir(each)]
    loose = [each for each in entries if not os.path.isdir(each)]
    # A link to the folder itself, or to one above it, is no class: it would label all images.
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
            f"{source} has no image: give a folder with one folder for each class, a folder of "
            f"images, or a CSV file of path,label."
        )
    return Collection(source, "flat", pictures, others=others + len(loose) - len(pictures))


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
    """Yield every file below a folder. Links are followed, and no folder is entered twice.

    Args:
        folder: where the walk begins.
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
    """Whether a file is an image, by its suffix or, without one, by its first bytes."""
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
    """The suffixes of the image formats that Pillow reads."""
    from PIL import Image

    known = Image.registered_extensions()
    readable = set(readable_formats())
    return frozenset(suffix for suffix, format in known.items() if format in readable)
