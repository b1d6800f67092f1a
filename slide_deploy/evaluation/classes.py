"""Which class of a file a folder or a word in a table means.

The same rule serves folders and tables. The first that fits decides, and the result names it:

1. by name: names of the classes are known, and every label is one of them;
2. by number: every label is a whole number, the index of its class;
3. by synset: every label is one of ImageNet's, n01440764 and so on, and the file has as many
   classes as ImageNet. A folder of some of them will do;
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
    """The index of the class that each label of a collection means.

    Attributes:
        indices: by label.
        how: which rule decided, as messages have it.
    """

    indices: Mapping[str, int]
    how: str


def number_labels(collection: Collection, classes: int, names: Sequence[str] = ()) -> Numbering:
    """Find the class of every label.

    Args:
        collection: one whose pictures have labels.
        classes: how many the file tells apart.
        names: of the classes, in the order of the logits; may be shorter or empty.

    Raises:
        InputError: if a label means no class, or several.
    """
    labels = collection.labels
    names = _without_end(names)
    if len(names) > classes:
        raise InputError(
            f"--labels has {counted(len(names), 'name')} and the file "
            f"{counted(classes, 'class')}: give one name a line in the order of the classes."
        )
    known = _by_key(names)
    if names and all(_meant(label, names, known) for label in labels):
        return Numbering({label: _only(label, names, known) for label in labels}, BY_NAME)
    numbers = [_NUMBER.fullmatch(label) for label in labels]
    if all(numbers):
        for label, number in zip(labels, numbers, strict=True):
            # Python makes no integers of thousands of digits.
            if number is None or len(number[1]) > 9 or int(number[1]) >= classes:
                raise InputError(
                    f"{collection.source}: {label[:40]} is no class of the file, which has 0 to "
                    f"{classes - 1}: rename it, or give names with --labels."
                )
        return Numbering({label: int(label.lstrip("0") or 0) for label in labels}, BY_NUMBER)
    synsets = {synset: index for index, synset in enumerate(imagenet_synsets())}
    if classes == len(synsets) and synsets.keys() >= set(labels):
        return Numbering({label: synsets[label] for label in labels}, BY_SYNSET)
    if names:
        stranger = next(label for label in labels if not _meant(label, names, known))
        raise InputError(
            f"{collection.source}: {stranger} is no name of a class of the file: rename it, or "
            f"give names that fit with --labels."
        )
    if len(labels) != classes:
        raise InputError(
            f"{collection.source} has {counted(len(labels), 'class')} and the file {classes}, so "
            f"that their order says nothing: give the names of the file's classes with --labels."
        )
    return Numbering({label: index for index, label in enumerate(labels)}, SORTED)


def _without_end(names: Sequence[str]) -> list[str]:
    """The names without empty ones at the end, as an editor leaves them."""
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
    """What else may stand for a name.

    Other capitals, spaces as underscores, the first of several synonyms, the synset before them.
    """
    synset, _, rest = name.partition(" ")
    if _SYNSET.fullmatch(synset):
        yield synset
        name = rest or name
    yield _plain(name)
    yield _plain(name.partition(",")[0])


def _plain(text: str) -> str:
    return text.replace("_", " ").strip().casefold()


def _meant(label: str, names: Sequence[str], known: Mapping[str, set[int]]) -> set[int]:
    """The classes that a label may mean; the very name comes before what is like it."""
    exact = {index for index, name in enumerate(names) if name == label}
    return exact or known.get(_plain(label), set())


def _only(label: str, names: Sequence[str], known: Mapping[str, set[int]]) -> int:
    meant = sorted(_meant(label, names, known))
    if len(meant) > 1:
        raise InputError(
            f"{label} is the name of classes {', '.join(map(str, meant))}: name its folder by the "
            f"index, or the classes apart with --labels."
        )
    return meant[0]
