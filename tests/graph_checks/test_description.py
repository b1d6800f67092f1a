"""SD020: the description of inputs and outputs is checked against the graph."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slide_deploy.graph_checks import check_file, check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.graph import Graph, Value
from tests.graph_checks.small_models import Files
from tests.mutants.editing import EDITORS, Element, layer

DOUBLE, HALF, INT32 = 65600, 65552, 131104  # ArrayFeatureType


def found(path: Path) -> list[str]:
    return messages(read_graph(path))


def messages(graph: Graph) -> list[str]:
    violations = check_graph(graph, standard_ops())
    return [f"{held.node}: {held.message}" for held in violations if held.rule == "SD020"]


def image_in(model: Any) -> Any:
    return model.description.input[0]


def renames_the_input(model: Any) -> None:
    image_in(model).name = "picture"


def renames_the_output(model: Any) -> None:
    model.description.output[0].name = "scores"


def forgets_the_input(model: Any) -> None:
    del model.description.input[:]


def repeats_the_input(model: Any) -> None:
    model.description.input.add().CopyFrom(image_in(model))


def forgets_the_shape(model: Any) -> None:
    del image_in(model).type.multiArrayType.shape[:]


def gives_the_output_another_shape(model: Any) -> None:
    model.description.output[0].type.multiArrayType.shape[:] = [1, 5]


def opens_the_batch(model: Any) -> None:
    array = image_in(model).type.multiArrayType
    for size in array.shape:
        array.shapeRange.sizeRanges.add(lowerBound=size, upperBound=size)
    array.shapeRange.sizeRanges[0].upperBound = 8


def takes_a_dictionary(model: Any) -> None:
    image_in(model).type.dictionaryType.SetInParent()


def takes_a_gray_image(model: Any) -> None:
    image_in(model).type.imageType.width = image_in(model).type.imageType.height = 64
    image_in(model).type.imageType.colorSpace = 10


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (renames_the_input, {"picture: Is described", "image: Is an input"}),
        (renames_the_output, {"scores: Is described", "logits: Is an output"}),
        (forgets_the_input, {"image: Is an input of the graph, and is not"}),
        (repeats_the_input, {"image: Is described as an input, and the graph has none"}),
        (forgets_the_shape, {"image: Is described as ()"}),
        (gives_the_output_another_shape, {"logits: Is described as (1, 5)"}),
        (opens_the_batch, {"image: Is described as (None, 3, 64, 64)"}),
        (takes_a_dictionary, {"image: Is described as dictionary", "image: Is described as ()"}),
        (takes_a_gray_image, {"image: Is described as (1, 1, 64, 64)"}),
    ],
)
def test_a_package_must_describe_its_program(
    exported: Files, tmp_path: Path, edit: Callable[[Any], None], expected: set[str]
) -> None:
    lines = found(EDITORS["coreml"](exported["coreml"], tmp_path, edit))
    assert len(lines) == len(expected)
    assert all(any(line.startswith(start) for line in lines) for start in expected), lines


@pytest.mark.parametrize(("code", "name"), [(DOUBLE, "float64"), (HALF, "float16"), (7, "array")])
@pytest.mark.parametrize("side", ["input", "output"])
def test_the_types_of_a_package_must_be_those_of_its_program(
    exported: Files, tmp_path: Path, side: str, code: int, name: str
) -> None:
    def retype(model: Any) -> None:
        getattr(model.description, side)[0].type.multiArrayType.dataType = code

    (line,) = found(EDITORS["coreml"](exported["coreml"], tmp_path, retype))
    assert f"Is described as {name}, and the graph has float32." in line


@pytest.mark.parametrize("seed", range(5))
def test_a_size_of_the_description_must_be_that_of_the_program(
    exported: Files, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    axis, more = rng.randrange(4), rng.randrange(1, 100)

    def enlarge(model: Any) -> None:
        image_in(model).type.multiArrayType.shape[axis] += more

    (line,) = found(EDITORS["coreml"](exported["coreml"], tmp_path, enlarge))
    assert "and the graph has (1, 3, 64, 64)" in line


def test_an_image_input_is_an_array_with_a_batch_of_one(exported: Files, tmp_path: Path) -> None:
    def take_colours(model: Any) -> None:
        takes_a_gray_image(model)
        image_in(model).type.imageType.colorSpace = 20  # RGB

    assert found(EDITORS["coreml"](exported["coreml"], tmp_path, take_colours)) == []


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("shape", "1,3,?,64", "(1, 3, None, 64)"),
        ("shape", "1,3,64,32..64", "(1, 3, 64, None)"),
        ("shape", "-1,3,64,64", "(None, 3, 64, 64)"),
        ("shape", "1,3,64", "(1, 3, 64)"),
        ("shape", "", "()"),
        ("shape", "1,3,64,99999999999999999999", "(1, 3, 64, None)"),
        ("element_type", "f64", "float64"),
        ("element_type", "number", "none"),
    ],
)
def test_the_data_of_an_input_layer_must_be_those_of_its_port(
    exported: Files, tmp_path: Path, key: str, text: str, expected: str
) -> None:
    def change(root: Element) -> None:
        data = layer(root, "Parameter").find("data")
        assert data is not None and key in data.attrib
        data.set(key, text)

    path = EDITORS["openvino"](exported["openvino"], tmp_path, change)
    assert found(path) == [
        f"image: Is described as {expected}, and the graph has "
        + ("(1, 3, 64, 64)." if key == "shape" else "float32.")
    ]


@pytest.mark.parametrize("files", ["exported", "exported_dynamic"])
@pytest.mark.parametrize("format", ["onnx", "openvino", "coreml"])
def test_valid_files_describe_their_interface(
    files: str, format: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(files)[format]
    assert found(path) == []
    assert (read_graph(path).described_inputs is None) == (format == "onnx")


def test_an_open_rank_is_not_compared(exported: Files) -> None:
    graph = read_graph(exported["onnx"])
    unknown = Value("image", "undefined", None)
    assert messages(replace(graph, described_inputs=(unknown,))) == []
    assert check_file(exported["onnx"]).passed
