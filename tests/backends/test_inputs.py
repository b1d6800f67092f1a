"""Random inputs from what a runtime says of a file."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.record import Configuration
from slide_deploy.backends.base import Port, untimed
from slide_deploy.backends.inputs import random_arrays, sized
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from tests.backends.files import bound, onnx_file_of_types

PATH = Path("model.onnx")
IMAGE = Port("image", (None, 3, None, 8))


def test_the_first_open_dimension_is_the_batch() -> None:
    (tensor,) = sized(PATH, [Port("x", (None, 4))], Configuration(batch=7))
    assert tensor == Port("x", (7, 4))


def test_without_a_batch_open_sizes_stay_open() -> None:
    (port,) = sized(PATH, [IMAGE], Configuration(batch=None))
    assert port == IMAGE
    shapes = {"image": (2, 3, 16, 8)}
    assert sized(PATH, [IMAGE], Configuration(batch=None, shapes=shapes))[0].shape == (2, 3, 16, 8)


def test_another_open_dimension_requires_a_shape() -> None:
    expected = r"dimension 2 of image open \(\?x3x\?x8\): give --shape image=2x3x224x8"
    with pytest.raises(InputError, match=expected):
        sized(PATH, [IMAGE], Configuration(batch=2))


def test_a_shape_fills_all_open_dimensions() -> None:
    shapes = {"image": (2, 3, 16, 8)}
    (tensor,) = sized(PATH, [IMAGE], Configuration(batch=2, shapes=shapes))
    assert tensor.shape == (2, 3, 16, 8)


@pytest.mark.parametrize("shape", [(2, 4, 16, 8), (2, 3, 16), (2, 3, 0, 8)])
def test_a_shape_that_does_not_fit_is_refused(shape) -> None:
    with pytest.raises(InputError, match=r"takes image as \?x3x\?x8, not .*--shape image"):
        sized(PATH, [IMAGE], Configuration(batch=2, shapes={"image": shape}))


def test_a_shape_of_an_unknown_input_is_refused() -> None:
    with pytest.raises(InputError, match="has no input picture: name one of image"):
        sized(PATH, [IMAGE], Configuration(shapes={"picture": (1, 3, 8, 8)}))


def test_a_shape_without_the_batch_is_refused() -> None:
    configuration = Configuration(batch=4, shapes={"image": (1, 3, 16, 8)})
    with pytest.raises(InputError, match="no --shape has the batch of 4 first"):
        sized(PATH, [IMAGE], configuration)


def test_a_table_beside_the_images_keeps_its_size() -> None:
    table = Port("table", (100, 4))
    tensors = sized(PATH, [Port("x", (None, 4)), table], Configuration(batch=2))
    assert [tensor.shape for tensor in tensors] == [(2, 4), (100, 4)]


def test_a_file_without_a_batch_runs_one_image() -> None:
    inputs = [Port("number", ())]
    assert sized(PATH, inputs, Configuration(batch=1))[0].shape == ()
    with pytest.raises(InputError, match="fixed batch of 1, not 2"):
        sized(PATH, inputs, Configuration(batch=2))


def test_a_type_that_numpy_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="takes x of type bfloat16"):
        sized(PATH, [Port("x", (1, 4), "bfloat16")], Configuration())


def test_arrays_are_the_same_every_time_and_fresh() -> None:
    tensors = [Port("a", (2, 3)), Port("b", (50,), "int64"), Port("c", (), "bool")]
    first, second = random_arrays(tensors), random_arrays(list(reversed(tensors)))
    for tensor in tensors:
        array = first[tensor.name]
        assert array.shape == tensor.shape
        assert array.dtype == np.dtype(tensor.dtype)
        np.testing.assert_array_equal(array, second[tensor.name])
        assert array is not second[tensor.name]
    assert set(first["b"]) == {0, 1}


@pytest.mark.parametrize("name", ["onnxruntime:cpu", "openvino:cpu"])
def test_a_file_may_have_inputs_of_any_type(name: str, tmp_path: Path) -> None:
    path = onnx_file_of_types(tmp_path)
    configuration = Configuration(batch=3, shapes={"image": (3, 3, 5, 8)}, precision="default")
    loaded = target_named(name).open(path, configuration, untimed)
    assert {tensor.name: (tensor.dtype, tensor.shape) for tensor in loaded.inputs} == {
        "image": ("float16", (3, 3, 5, 8)),
        "index": ("int64", (3,)),
        "table": ("float32", (2, 5)),
        "on": ("bool", ()),
    }
    bound(loaded).run()
