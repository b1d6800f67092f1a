"""What is particular to Core ML."""

from types import SimpleNamespace

import coremltools
import numpy as np
import pytest

from benchmarks.record import Configuration
from slide_deploy.backends.base import untimed
from slide_deploy.backends.coreml.package import Predictions, described
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage.features import Feature, read_features
from tests.backends.cases import case_of
from tests.backends.files import bound


@pytest.fixture
def case(written, monkeypatch):
    return case_of("coreml:ane", written, monkeypatch)


def test_it_needs_macos(tmp_path, written) -> None:
    target = target_named("coreml:all")
    assert target.find().detail == "needs macOS"
    with pytest.raises(InputError, match="coreml:all cannot run here: needs macOS"):
        target.open(written / "coreml-1" / "small.mlpackage", Configuration(), untimed)


@pytest.mark.parametrize(
    ("name", "units"),
    [("all", "ALL"), ("cpu", "CPU_ONLY"), ("gpu", "CPU_AND_GPU"), ("ane", "CPU_AND_NE")],
)
def test_each_target_requests_its_compute_units(
    name, units, written, tmp_path, monkeypatch
) -> None:
    case = case_of(f"coreml:{name}", written, monkeypatch)
    case.target.open(case.make_file(tmp_path, 1), Configuration(), untimed)
    assert case.behaviour.units.name == units


def test_a_mac_without_the_hardware_is_reported(case) -> None:
    case.behaviour.devices = ("MLCPUComputeDevice",)
    assert case.target.find().detail == "this Mac has no Neural Engine that Core ML can use"


def test_a_model_that_stays_off_the_neural_engine_is_refused(case, tmp_path) -> None:
    case.behaviour.planned = "MLCPUComputeDevice"
    with pytest.raises(InputError, match=r"runs without the Neural Engine.*--precision float16"):
        case.target.open(case.make_file(tmp_path, 1), Configuration(), untimed)


def test_where_operators_run_is_recorded(case, tmp_path) -> None:
    loaded = case.target.open(case.make_file(tmp_path, 1), Configuration(), untimed)
    assert loaded.facts["operators"] == "NeuralEngine 2"


def test_an_older_macos_reports_no_placement(case, tmp_path) -> None:
    case.behaviour.planned = ""
    loaded = case.target.open(case.make_file(tmp_path, 1), Configuration(), untimed)
    assert "operators" not in loaded.facts


def test_a_model_that_does_not_compile_is_refused(case, tmp_path) -> None:
    case.behaviour.compiles = False
    with pytest.raises(InputError, match="does not load on coreml:ane"):
        case.target.open(case.make_file(tmp_path, 1), Configuration(), untimed)


def test_each_stream_has_its_own_model(case, tmp_path) -> None:
    loaded = case.target.open(case.make_file(tmp_path, 1), Configuration(streams=2), untimed)
    assert case.behaviour.models == 1
    first, second = bound(loaded), bound(loaded)
    assert case.behaviour.models == 2
    first.run()
    second.run()
    assert case.behaviour.fed[0]["x"] is not case.behaviour.fed[1]["x"]
    np.testing.assert_array_equal(case.behaviour.fed[0]["x"], case.behaviour.fed[1]["x"])


def test_optimisation_hints_reach_core_ml(case, tmp_path) -> None:
    path = case.make_file(tmp_path, 1)
    options = {"specializationStrategy": "FastPrediction"}
    case.target.open(path, Configuration(options=options), untimed)
    assert case.behaviour.hints == {
        "specializationStrategy": coremltools.SpecializationStrategy.FastPrediction
    }
    options = {"reshapeFrequency": "Never"}
    with pytest.raises(
        InputError, match="reshapeFrequency must be Frequent or Infrequent, not Never"
    ):
        case.target.open(path, Configuration(options=options), untimed)


def test_enumerated_sizes_are_open(tmp_path) -> None:
    feature = coremltools.proto.Model_pb2.FeatureDescription(name="x")
    array = feature.type.multiArrayType
    array.dataType = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16
    for batch in (1, 4):
        array.enumeratedShapes.shapes.add().shape.extend([batch, 3, 8, 8])
    (found,) = described(tmp_path, read_features([feature]))
    assert found.shape == (None, 3, 8, 8)
    assert found.dtype == "float16"


def test_array_types_match_the_protobuf_of_core_ml() -> None:
    from slide_deploy.saved.mlpackage.features import _ARRAY_DTYPES

    kinds = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType.ArrayDataType
    numbers = {number: name for name, number in kinds.items()}
    assert {numbers[number].replace("DOUBLE", "FLOAT64") for number in _ARRAY_DTYPES} == {
        name.upper() for name in _ARRAY_DTYPES.values()
    }


def test_an_input_that_is_neither_array_nor_picture_is_refused(tmp_path) -> None:
    words = Feature("words", "dictionary", "", ())
    with pytest.raises(InputError, match="takes words as dictionary"):
        described(tmp_path, [words])


@pytest.mark.parametrize(("colours", "channels"), [("RGB", 3), ("BGR", 3), ("GRAYSCALE", 1)])
def test_an_image_input_is_fed_a_picture(colours, channels, tmp_path) -> None:
    feature = coremltools.proto.Model_pb2.FeatureDescription(name="photo")
    image = feature.type.imageType
    image.height, image.width = 6, 9
    image.colorSpace = coremltools.proto.FeatureTypes_pb2.ImageFeatureType.ColorSpace.Value(colours)
    (found,) = described(tmp_path, read_features([feature]))
    assert (found.dtype, found.shape) == ("uint8", (1, channels, 6, 9))
    assert found.pixels
    fed = []
    package = SimpleNamespace(
        inputs=[SimpleNamespace(name="photo", kind="image")], outputs=[], classes=()
    )
    stream = Predictions(SimpleNamespace(predict=fed.append), package)
    stream.bind(random_arrays([found]))
    stream.run()
    picture = fed[0]["photo"]
    assert (picture.size, picture.mode) == ((9, 6), "RGB" if channels == 3 else "L")
    drawn = random_arrays([found])["photo"][0]
    assert np.array_equal(np.asarray(picture).reshape(6, 9, channels), drawn.transpose(1, 2, 0))
    assert drawn.max() > 200


def test_a_picture_of_several_sizes_is_open(tmp_path) -> None:
    feature = coremltools.proto.Model_pb2.FeatureDescription(name="photo")
    for side in (8, 16):
        size = feature.type.imageType.enumeratedSizes.sizes.add()
        size.height = size.width = side
    (found,) = described(tmp_path, read_features([feature]))
    assert found.shape == (1, 3, None, None)
