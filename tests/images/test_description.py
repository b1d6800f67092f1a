"""Predictions follow a file's description of its image, and nothing is preprocessed twice."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import slide_deploy
from exporters.outcome import ExportOptions
from slide_deploy.checkpoint.stated import Vocabulary, stated_in
from slide_deploy.errors import InputError
from slide_deploy.images.description import (
    IMAGE_KEY,
    ImageDescription,
    Preprocessing,
    parse_channels,
    read_description,
)
from slide_deploy.images.labels import imagenet_labels, labels_named
from tests.exporters.pixel_networks import Classifier, drawn, exported
from tests.support import FORMATS

LABELS = tuple(f"class {letter}" for letter in "abcdefg")
DESCRIPTION = ImageDescription(
    input="image",
    size=(224, None),
    layout="nhwc",
    order="bgr",
    type="uint8",
    mean=(0.5, 0.4, 0.3),
    deviation=(0.1, 0.2, 0.3),
    inside=True,
    output="probabilities",
    probabilities=True,
    labels=("Zürich", "東京"),
)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    pixels = np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((70, 60), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_both_kinds_of_files_predict_the_same_classes(format: str, picture: Path) -> None:
    network, usual = drawn(Classifier()), Preprocessing((0.3, 0.4, 0.5), (0.2, 0.3, 0.4))
    asked = replace(usual, embedded=True, layout="nhwc", order="bgr")
    inside, outside = (
        exported(network, "patches", options).paths[format]
        for options in (
            ExportOptions(FORMATS, Path(), preprocessing=asked, labels=LABELS, softmax=True),
            ExportOptions(FORMATS, Path(), preprocessing=usual),
        )
    )
    found = slide_deploy.predict(inside, picture, top=7)
    wanted = slide_deploy.predict(outside, picture, top=7)
    assert [each.index for each in found] == [each.index for each in wanted]
    shares = [[each.probability for each in guesses] for guesses in (found, wanted)]
    assert np.abs(np.subtract(*shares)).max() < 1e-5
    assert shares[0][0] > shares[0][-1] + 0.05, "equal shares would always agree"
    assert [each.name for each in found] == [LABELS[each.index] for each in found]
    assert [each.name for each in wanted] == [str(each.index) for each in wanted]
    assert "pixels from 0 to 255" in found[0].prepared
    assert "normalised as the file describes" in wanted[0].prepared
    usual_numbers = slide_deploy.predict(
        exported(network, "patches", ExportOptions(FORMATS, Path())).paths[format], picture, top=7
    )
    assert abs(usual_numbers[0].probability - wanted[0].probability) > 1e-4


def test_given_names_replace_those_of_the_file(picture: Path) -> None:
    asked = Preprocessing(embedded=True)
    options = ExportOptions(FORMATS, Path(), preprocessing=asked, labels=LABELS)
    path = exported(drawn(Classifier()), "patches", options).paths["onnx"]
    given = slide_deploy.predict(path, picture, labels=list("ABCDEFG"), top=7)
    assert sorted(each.name for each in given) == list("ABCDEFG")


def test_a_written_description_is_read() -> None:
    assert read_description({IMAGE_KEY: DESCRIPTION.text()}) == DESCRIPTION
    assert DESCRIPTION.text().isascii()
    assert read_description({}) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"layout": "nchwc"},
        {"order": "gbr"},
        {"mean": [0.1]},
        {"mean": ["a", "b", "c"]},
        {"mean": [float("nan")] * 3},
        {"deviation": [0.1, 0, 0.1]},
        {"size": [224]},
        {"size": [224, 0]},
        {"size": [224, True]},
        {"inside": "yes"},
        {"labels": [1]},
        {"labels": 3},
        {"input": None},
    ],
)
def test_an_invalid_description_is_refused(damage: dict) -> None:
    text = json.dumps({**json.loads(DESCRIPTION.text()), **damage})
    with pytest.raises(InputError, match="not what slide-deploy writes"):
        read_description({IMAGE_KEY: text})


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", "[" * 100_000, "{" + " " * 10_000_000])
def test_metadata_that_is_not_a_description_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not what slide-deploy writes"):
        read_description({IMAGE_KEY: text})


def test_numbers_of_channels_are_read() -> None:
    assert parse_channels("0.5, 0.25,1e-1", "--mean") == (0.5, 0.25, 0.1)
    assert parse_channels(None, "--mean") is None
    for text in ("", "a,b", "0.5;0.5"):
        with pytest.raises(InputError, match=r"--mean .* not a list of numbers"):
            parse_channels(text, "--mean")


def test_imagenet_has_a_name_for_every_class() -> None:
    names = imagenet_labels()
    assert len(names) == len(set(names)) == 1000
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 999: "toilet tissue"}
    assert {index: names[index] for index in known} == known
    assert labels_named("imagenet") == names


def test_synsets_are_in_the_order_of_training() -> None:
    path = Path(slide_deploy.__file__).parent / "images" / "imagenet_classes.tsv"
    rows = [row.split("\t") for row in path.read_text().splitlines() if not row.startswith("#")]
    assert [int(index) for index, *_ in rows] == list(range(1000))
    synsets = [synset for _, synset, _ in rows]
    assert synsets == sorted(set(synsets))


def test_a_file_of_names_is_read(tmp_path: Path) -> None:
    path = tmp_path / "imagenet"
    path.write_bytes("\ufeffZürich\r\n東京\n".encode())
    assert labels_named(path) == ("Zürich", "東京")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as class names"):
        labels_named(path)


@pytest.mark.parametrize(
    ("hub", "found"),
    [
        ({"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 1]}}, True),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 1]}, True),
        ({"pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}}, False),
        ({"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}, False),
        ({"mean": [0.5, 0.5, 0.5], "std": [0.25, 0, 1]}, False),
        ({"mean": 0.5, "std": 0.5}, False),
        ({}, False),
    ],
)
def test_a_checkpoint_states_mean_and_deviation(hub: dict, found: bool) -> None:
    stated = stated_in(Path("config.json"), {}, "SlideSwin", Vocabulary(), hub)
    assert stated.normalisation == (((0.5,) * 3, (0.25, 0.5, 1.0)) if found else None)


def test_names_and_numbers_that_python_cannot_represent_are_refused() -> None:
    content = json.loads(DESCRIPTION.text())
    text = json.dumps({**content, "labels": ["\ud800 cat", "dog"]})
    found = read_description({IMAGE_KEY: text})
    assert found is not None and found.labels == ("? cat", "dog")
    with pytest.raises(InputError, match="is not what slide-deploy writes"):
        read_description({IMAGE_KEY: json.dumps({**content, "mean": [10**400] * 3})})


def test_empty_lines_at_the_end_name_no_class(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("tench\n\ngoldfish\n\n \n")
    assert labels_named(path) == ("tench", "", "goldfish")


def test_imagenet_is_spelled_in_any_case() -> None:
    assert labels_named("ImageNet") == labels_named("IMAGENET") == imagenet_labels()


def test_an_impossibly_small_deviation_is_refused() -> None:
    Preprocessing(deviation=(0.001, 0.2, 0.2))
    with pytest.raises(InputError, match=r"give numbers of at least 0.001, divided by 255"):
        Preprocessing(deviation=(0.0009, 0.2, 0.2))
