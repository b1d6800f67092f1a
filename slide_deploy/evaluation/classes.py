"""Maps the labels of a data set (folder names, table entries) to class indices of a file.

The first rule that fits all labels is used, and the result names it:

1. by name: the class names are known, and every label is one of them;
2. by number: every label is a class index;
3. by synset: every label is an ImageNet synset such as n01440764, and the file has as many classes
   as ImageNet. The data set may hold a subset of the classes;
4. in sorted order: there are as many labels as classes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from slide_deploy.errors import InputError
from slide_deploy.images.collection import Collection
from slide_deploy.images.labels import imagenet_synsets
from slide_deploy.terminal.printable import counted

_SYNSET = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"0*(\d+)", re.ASCII)
BY_NAME, BY_NUMBER, BY_SYNSET, SORTED = "by name", "by number", "by synset", "in sorted order"


@dataclass(frozen=True)
class Numbering:
    """The class index of each label.

    Attributes:
        indices: class index by label.
        how: the rule that was used, as shown in messages.
    """

    indices: Mapping[str, int]
    how: str


def number_labels(collection: Collection, classes: int, names: Sequence[str] = ()) -> Numbering:
    """Find the class of every label.

    Args:
        collection: a data set with labels.
        classes: number of classes of the file.
        names: class names in the order of the scores; may be shorter or empty.

    Raises:
        InputError: if a label matches no class or several.
    """
    labels = collection.labels
    names = _without_end(names)
    if len(names) > classes:
        raise InputError(
            f"--labels has {counted(len(names), 'name')} and the file "
            f"{counted(classes, 'class')}: give one name a line in the order of the classes."
        )
    known = _by_key(names)
    if names and all(_matches(label, names, known) for label in labels):
        return Numbering({label: _single_match(label, names, known) for label in labels}, BY_NAME)
    numbers = [_NUMBER.fullmatch(label) for label in labels]
    if all(numbers):
        for label, number in zip(labels, numbers, strict=True):
            # int() rejects strings of thousands of digits.
            if number is None or len(number[1]) > 9 or int(number[1]) >= classes:
                raise InputError(
                    f"{collection.source}: {label[:40]} is not a class index of the "
                    f"file, which has 0 to {classes - 1}: rename it, or give class names with "
                    f"--labels."
                )
        return Numbering({label: int(label.lstrip("0") or 0) for label in labels}, BY_NUMBER)
    synsets = {synset: index for index, synset in enumerate(imagenet_synsets())}
    if classes == len(synsets) and synsets.keys() >= set(labels):
        return Numbering({label: synsets[label] for label in labels}, BY_SYNSET)
    if names:
        unknown = next(label for label in labels if not _matches(label, names, known))
        raise InputError(
            f"{collection.source}: {unknown} is not a class name of the file: rename it, or give "
            f"matching names with --labels."
        )
    if len(labels) != classes:
        raise InputError(
            f"{collection.source} has {counted(len(labels), 'class')} and the file {classes}, so "
            f"sorted order cannot match them: give the file's class names with --labels."
        )
    return Numbering({label: index for index, label in enumerate(labels)}, SORTED)


def _without_end(names: Sequence[str]) -> list[str]:
    """The names without trailing empty lines, which editors leave behind."""
    kept = [name.strip() for name in names]
    while kept and not kept[-1]:
        kept.pop()
    return kept


def _by_key(names: Sequence[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for index, name in enumerate(names):
        for key in _keys(name):
            found.setdefault(key, set()).add(index)
    return found


def _keys(name: str) -> Iterator[str]:
    """Alternative spellings of a class name.

    These are: case-insensitive, underscores for spaces, the first of several synonyms, and the
    synset in front.
    """
    synset, _, rest = name.partition(" ")
    if _SYNSET.fullmatch(synset):
        yield synset
        name = rest or name
    yield _plain(name)
    yield _plain(name.partition(",")[0])


def _plain(text: str) -> str:
    return text.replace("_", " ").strip().casefold()


def _matches(label: str, names: Sequence[str], known: Mapping[str, set[int]]) -> set[int]:
    """The classes that a label may mean. An exact match takes precedence over a similar one."""
    exact = {index for index, name in enumerate(names) if name == label}
    return exact or known.get(_plain(label), set())


def _single_match(label: str, names: Sequence[str], known: Mapping[str, set[int]]) -> int:
    meant = sorted(_matches(label, names, known))
    if len(meant) > 1:
        raise InputError(
            f"{label} is the name of classes {', '.join(map(str, meant))}: name its folder by "
            f"class index, or give distinct names with --labels."
        )
    return meant[0]
