"""What folders and words in tables mean to a file."""

from pathlib import Path

import pytest

from slide_deploy.errors import InputError
from slide_deploy.evaluation.classes import Numbering, number_labels
from slide_deploy.images.collection import Collection

IMAGENET = [
    "n01440764 tench, Tinca tinca",
    "n01443537 goldfish, Carassius auratus",
    "n02012849 crane",
    "n03126707 crane",
]


def numbered(labels: str, classes: int, names: list[str] | None = None) -> Numbering:
    found = Collection(Path("val"), "folders", (), tuple(sorted(labels.split())))
    return number_labels(found, classes, names or [])


@pytest.mark.parametrize(
    ("labels", "names", "indices"),
    [
        ("dog cat", ["cat", "dog"], {"cat": 0, "dog": 1}),
        ("dog", ["cat", "dog", ""], {"dog": 1}),
        ("Hot_dog", ["cat", "hot dog"], {"Hot_dog": 1}),
        ("tench goldfish", ["tench, Tinca tinca", "goldfish"], {"tench": 0, "goldfish": 1}),
        ("n01443537 n03126707", IMAGENET, {"n01443537": 1, "n03126707": 3}),
        ("2 1", ["1", "2"], {"1": 0, "2": 1}),
    ],
)
def test_labels_are_names_of_the_file(
    labels: str, names: list[str], indices: dict[str, int]
) -> None:
    assert numbered(labels, 4, names) == Numbering(indices, "by name")


def test_whole_numbers_are_indices_and_not_places_in_a_sorted_list() -> None:
    """Sorted as words, 10 would come before 2."""
    found = numbered("0 1 2 10", 11)
    assert found == Numbering({"0": 0, "1": 1, "2": 2, "10": 10}, "by number")
    assert numbered("007", 8).indices == {"007": 7}
    assert numbered("1", 3, ["cat", "dog"]) == Numbering({"1": 1}, "by number")


def test_synsets_are_classes_of_imagenet_even_if_there_are_few() -> None:
    found = numbered("n02105641 n01440764 n01443537", 1000)
    assert found == Numbering({"n01440764": 0, "n01443537": 1, "n02105641": 229}, "by synset")
    named = numbered("n01440764", 1000, ["tench", *map(str, range(999))])
    assert named == Numbering({"n01440764": 0}, "by synset")


def test_without_names_the_order_counts() -> None:
    found = numbered("n02 n01 n03", 3)
    assert found == Numbering({"n01": 0, "n02": 1, "n03": 2}, "in sorted order")


@pytest.mark.parametrize(
    ("labels", "classes", "names", "said"),
    [
        ("cat dog", 1000, [], "val has 2 classes and the file 1000, so sorted order cannot"),
        ("cat cow", 2, ["cat", "dog"], "val: cow is not a class name of the file"),
        ("0 4", 4, [], "val: 4 is not a class index of the file, which has 0 to 3"),
        ("cat", 1, ["cat", "dog"], "--labels has 2 names and the file 1 class:"),
        ("crane", 4, IMAGENET, "crane is the name of classes 2, 3"),
    ],
)
def test_labels_that_mean_nothing_are_refused(
    labels: str, classes: int, names: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        numbered(labels, classes, names)


def test_numbers_of_any_length_are_numbers() -> None:
    zeros = "0" * 5000
    assert dict(numbered(f"{zeros} {zeros}1", 2).indices) == {zeros: 0, f"{zeros}1": 1}
    with pytest.raises(InputError, match="9 is not a class index of the file, which has 0 to 1"):
        numbered("9" * 5000, 2)
