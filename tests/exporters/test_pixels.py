"""Files that take pixels have the same outputs as files that take normalised images."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from torch import nn

import slide_deploy
from exporters.outcome import ExportOptions, ExportResult
from slide_deploy.api.networks import network_of
from slide_deploy.backends import open_file
from slide_deploy.errors import InputError
from slide_deploy.images.description import DEVIATION, IMAGE_KEY, MEAN, Preprocessing
from slide_deploy.saved.mlpackage import PackageConstant, open_package
from slide_deploy.verification.verify import locate, verify_file
from tests.exporters.pixel_networks import (
    SIZE,
    Classifier,
    Patches,
    ReadTwice,
    drawn,
    exported,
    given,
    normalised,
    pictures,
)
from tests.support import FORMATS, golden_swin
from tests.support import export as export_checkpoint
from tests.support import exported as exported_checkpoint

PLAIN = ExportOptions(FORMATS, Path())
STEMS = {
    "patches": lambda: Classifier(),
    "padded": lambda: Classifier(padding=2),
    "linear": lambda: Classifier(stem=Patches()),
    "read twice": lambda: Classifier(stem=ReadTwice()),
}
# (layout, order)
ASKED = [("nchw", "rgb"), ("nchw", "bgr"), ("nhwc", "rgb"), ("nhwc", "bgr")]
# The variants of each stem in `make test`; the slow tests run the rest.
QUICK = {"patches": (ASKED[0], ASKED[3]), "padded": (ASKED[3],)}
# The largest allowed difference of logits, which are about 1.
SAME = 1e-5


def pixel_options(layout: str = "nchw", order: str = "rgb", **others) -> ExportOptions:
    asked = Preprocessing(embedded=True, layout=layout, order=order)
    return ExportOptions(FORMATS, Path(), preprocessing=asked, **others)


def asked(*stems: str, named: bool = False) -> list[object]:
    """Return every layout and order, preceded by the stem if it is `named`."""
    return [
        pytest.param(
            *((stem, *each) if named else each),
            marks=[] if each in QUICK[stem] else pytest.mark.slow,
        )
        for stem in stems
        for each in ASKED
    ]


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    ("stem", "layout", "order"),
    [
        *asked("patches", "padded", named=True),
        pytest.param("linear", "nhwc", "bgr", marks=pytest.mark.slow),
        ("read twice", "nhwc", "bgr"),
    ],
)
def test_inside_and_outside_give_the_same_logits(stem: str, layout: str, order: str) -> None:
    network = drawn(STEMS[stem]())
    options = pixel_options(layout, order)
    inside, outside = exported(network, stem, options), exported(network, stem, PLAIN)
    assert inside.passed, inside.problems
    for format in FORMATS:
        taking = open_file(inside.paths[format])
        plain = open_file(outside.paths[format])
        for name, pixels in pictures().items():
            taken = given(pixels, options.preprocessing, format)
            (found,) = taking({"image": taken}).values()
            (wanted,) = plain({"image": normalised(pixels)}).values()
            assert np.abs(found - wanted).max() <= SAME, (format, name)
            assert np.abs(wanted).max() > 0.1, "logits of nothing would always agree"


@pytest.mark.parametrize(
    "layout",
    [pytest.param("nchw", marks=pytest.mark.slow), pytest.param("nhwc", marks=pytest.mark.full)],
)
def test_a_trained_network_gives_the_same_logits(layout: str, tmp_path: Path) -> None:
    checkpoint = golden_swin("slide_swin_nano").load()
    height, width = checkpoint.config.image_size
    options = pixel_options(layout, "bgr", policy=None)
    inside = export_checkpoint(checkpoint, ExportOptions(**{**vars(options), "out": tmp_path}))
    outside = exported_checkpoint(checkpoint)
    for format in FORMATS:
        taking, plain = (open_file(result.paths[format]) for result in (inside, outside))
        for name, pixels in pictures((height, width)).items():
            taken = given(pixels, options.preprocessing, format)
            found = taking({"image": taken})["logits"]
            wanted = plain({"image": normalised(pixels)})["logits"]
            # Relative to the largest logit: flat patches near the mean are a difference of large
            # sums once the mean is in the weights, and the network multiplies what is lost there.
            assert np.abs(found - wanted).max() <= SAME * np.abs(wanted).max(), (format, name)


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(("layout", "order"), asked("patches"))
def test_patches_have_mean_and_deviation_in_their_weights(layout: str, order: str) -> None:
    result = exported(drawn(Classifier()), "patches", pixel_options(layout, order))
    moved = ["Transpose"] if layout == "nhwc" else []
    written = operators(result.paths["onnx"])
    assert written == [*moved, "Cast", "Conv", "Relu", "Conv", "ReduceMean", "Gemm"]
    for file in result.files:
        assert file.preprocessing.startswith("mean and deviation are in the weights of stem")


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "order"), asked("padded"))
def test_a_padded_convolution_keeps_the_mean_in_front(layout: str, order: str) -> None:
    result = exported(drawn(Classifier(padding=2)), "padded", pixel_options(layout, order))
    moved = ["Transpose"] if layout == "nhwc" else []
    written = operators(result.paths["onnx"])
    assert written == [*moved, "Cast", "Sub", "Conv", "Relu", "Conv", "ReduceMean", "Gemm"]
    for file in result.files:
        assert "the mean stays an operator in front (sub)" in file.preprocessing
    assert "zero padding is not the mean pixel" in " ".join(repr(result).split())


@pytest.mark.slow
@pytest.mark.parametrize("stem", [pytest.param("linear", marks=pytest.mark.slow), "read twice"])
def test_an_image_with_other_readers_keeps_operators_in_front(stem: str) -> None:
    result = exported(drawn(STEMS[stem]()), stem, pixel_options("nhwc", "bgr"))
    # A reversed channel order is a convolution, which absorbs mean and deviation.
    assert operators(result.paths["onnx"])[:3] == ["Transpose", "Cast", "Conv"]
    in_front = {"onnx": "conv2d", "openvino": "conv2d", "coreml": "sub, div"}
    for format, names in in_front.items():
        assert f"stay an operator in front ({names})" in result.file(format).preprocessing


@pytest.mark.slow
def test_grey_images_have_their_own_mean_and_deviation() -> None:
    network = drawn(Classifier(channels=1))
    asked = Preprocessing((0.13,), (0.31,), embedded=True, layout="nhwc")
    options = ExportOptions(FORMATS, Path(), preprocessing=asked)
    shape = (1, 1, *SIZE)
    inside, outside = (exported(network, "grey", each, shape) for each in (options, PLAIN))
    assert inside.passed, inside.problems
    for format in FORMATS:
        for pixels in pictures(channels=1).values():
            taken = given(pixels, asked, format)
            (found,) = open_file(inside.paths[format])({"image": taken}).values()
            plain = normalised(pixels, (0.13,), (0.31,))
            (wanted,) = open_file(outside.paths[format])({"image": plain}).values()
            assert np.abs(found - wanted).max() <= SAME


@pytest.mark.slow
@pytest.mark.parametrize("layout", [pytest.param("nchw", marks=pytest.mark.slow), "nhwc"])
def test_open_sizes_stay_open(layout: str, tmp_path: Path) -> None:
    network = drawn(Classifier(padding=1))
    result = slide_deploy.export(
        network,
        torch.zeros(1, 3, *SIZE),
        to=["onnx", "openvino"],
        out=tmp_path,
        open_sizes={"image": {2: "height", 3: "width"}},
        dynamic_batch=True,
        embed_preprocessing=True,
        input_layout=layout,
    )
    result.raise_if_failed()
    sizes = {0: None, 1: 3, 2: None, 3: None}
    wanted = tuple(sizes[axis] for axis in ((0, 1, 2, 3) if layout == "nchw" else (0, 2, 3, 1)))
    for path in result.paths.values():
        assert open_file(path).inputs[0].shape == wanted
        assert slide_deploy.verify(path, network, torch.zeros(1, 3, *SIZE)).passed


@pytest.mark.slow
def test_core_ml_takes_one_image_at_a_time_of_any_size(tmp_path: Path) -> None:
    network = drawn(Classifier(padding=1))
    asked = {"to": "coreml", "out": tmp_path, "embed_preprocessing": True}
    opened = {"image": {2: "height", 3: "width"}}
    slide_deploy.export(
        network, torch.zeros(1, 3, *SIZE), **asked, open_sizes=opened
    ).raise_if_failed()
    with pytest.raises(InputError, match="one image at a time"):
        slide_deploy.export(
            network, torch.zeros(1, 3, *SIZE), **asked, dynamic_batch=True, force=True
        )
    with pytest.raises(InputError, match="1 or 3 channels, not of 4"):
        slide_deploy.export(
            drawn(Classifier(channels=4)),
            torch.zeros(1, 4, *SIZE),
            **asked,
            mean=(0.5,) * 4,
            deviation=(0.5,) * 4,
            force=True,
        )


def test_files_describe_their_inputs() -> None:
    asked = pixel_options("nhwc", "bgr", softmax=True, labels=tuple("abcdefg"))
    result = exported(drawn(Classifier()), "patches", asked)
    description = {}
    for format, path in result.paths.items():
        description[format] = json.loads(open_file(path).metadata[IMAGE_KEY])
    expected = {
        "input": "image",
        "size": list(SIZE),
        "layout": "nhwc",
        "order": "bgr",
        "type": "uint8",
        "mean": list(MEAN),
        "deviation": list(DEVIATION),
        "inside": True,
        "output": "probabilities",
        "probabilities": True,
        "labels": list("abcdefg"),
    }
    assert description["onnx"] == description["openvino"] == expected
    assert description["coreml"] == {**expected, "layout": "nchw", "order": "rgb"}
    onnx_input = onnx.load(result.paths["onnx"]).graph.input[0].type.tensor_type
    assert onnx_input.elem_type == onnx.TensorProto.UINT8
    (port,) = openvino.Core().read_model(result.paths["openvino"]).get_parameters()
    assert (port.get_element_type().get_type_name(), str(port.get_layout())) == ("u8", "[N,H,W,C]")


def test_files_without_preprocessing_describe_what_callers_must_do() -> None:
    checkpoint = golden_swin("slide_swin_nano").load()
    result = exported_checkpoint(checkpoint)
    for path in result.paths.values():
        description = json.loads(open_file(path).metadata[IMAGE_KEY])
        assert (description["inside"], description["type"], description["output"]) == (
            False,
            "float32",
            "logits",
        )
        assert description["size"] == list(checkpoint.config.image_size)


def test_other_networks_have_no_description_of_images() -> None:
    result = exported(drawn(Classifier()), "patches", PLAIN)
    assert all(IMAGE_KEY not in open_file(path).metadata for path in result.paths.values())


@pytest.mark.slow
def test_probabilities_are_a_softmax_of_the_logits() -> None:
    network = drawn(Classifier())
    result = exported(network, "patches", ExportOptions(FORMATS, Path(), softmax=True))
    assert result.passed, result.problems
    image = normalised(pictures()["noise"])
    with torch.no_grad():
        wanted = network.double()(torch.from_numpy(image).double()).softmax(-1).numpy()
    for path in result.paths.values():
        answers = open_file(path)({"image": image})
        assert list(answers) == ["probabilities"]
        assert np.abs(answers["probabilities"] - wanted).max() < 1e-6


def test_a_core_ml_package_is_a_classifier_that_xcode_previews() -> None:
    labels = tuple("abcdefg")
    asked = pixel_options("nhwc", "bgr", softmax=True, labels=labels)
    path = exported(drawn(Classifier()), "patches", asked).paths["coreml"]
    package = open_package(path)
    description = package.spec.description
    assert [each.type.WhichOneof("Type") for each in description.input] == ["imageType"]
    assert {each.name: each.type.WhichOneof("Type") for each in description.output} == {
        "label": "stringType",
        "probabilities": "dictionaryType",
    }
    assert description.predictedFeatureName == "label"
    assert description.predictedProbabilitiesName == "probabilities"
    assert package.classes == labels
    preview = package.user_metadata["com.apple.coreml.model.preview.type"]
    assert preview == "imageClassifier"


def test_labels_without_probabilities_do_not_make_a_classifier() -> None:
    asked = replace(pixel_options(labels=tuple("abcdefg")), formats=("coreml",))
    package = open_package(exported(drawn(Classifier()), "patches", asked).paths["coreml"])
    assert package.classes == ()
    assert json.loads(package.user_metadata[IMAGE_KEY])["labels"] == list("abcdefg")


def half(network: nn.Module) -> ExportResult:
    asked = pixel_options()
    halved = {"formats": ("coreml", "openvino"), "precision": "float16"}
    return exported(network, "patches", ExportOptions(**{**vars(asked), **halved}))


def test_half_precision_keeps_its_limit() -> None:
    result = half(drawn(Classifier()))
    assert result.passed, result.problems


def test_weights_stay_within_the_precise_range_of_float16() -> None:
    """Divided by 255, they would be subnormal numbers, which some devices flush to zero."""
    program = open_package(half(drawn(Classifier())).paths["coreml"]).main.block
    weights = [
        held.numpy()
        for operation in program.operations
        if isinstance(held := operation.attributes.get("val"), PackageConstant)
        and held.shape == (16, 3, 4, 4)
    ]
    assert [each.dtype for each in weights] == [np.float16]
    typical = np.median(np.abs(weights[0].astype(np.float32)))
    assert typical > 500 * np.finfo(np.float16).smallest_normal


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_is_verified_later_and_layer_by_layer(format: str) -> None:
    network = drawn(Classifier(padding=2))
    asked = pixel_options("nhwc", "bgr", softmax=True)
    path = exported(network, "padded", asked).paths[format]
    whole = network_of(network, torch.zeros(1, 3, *SIZE))
    assert verify_file(path, whole).passed
    assert locate(path, whole).first_wrong is None
    other = network_of(drawn(Classifier(padding=2), seed=1), torch.zeros(1, 3, *SIZE))
    assert not verify_file(path, other).passed


def test_a_wrong_mean_is_found(tmp_path: Path) -> None:
    """The mean in the file's description differs from that in its graph."""
    network = drawn(Classifier())
    path = exported(network, "patches", pixel_options()).paths["onnx"]
    model = onnx.load(path)
    (entry,) = (each for each in model.metadata_props if each.key == IMAGE_KEY)
    entry.value = entry.value.replace("0.485", "0.475")
    onnx.save(model, tmp_path / "other.onnx")
    whole = network_of(network, torch.zeros(1, 3, *SIZE))
    assert not verify_file(tmp_path / "other.onnx", whole).passed


def test_damaged_descriptions_are_refused(tmp_path: Path) -> None:
    network = drawn(Classifier())
    model = onnx.load(exported(network, "patches", pixel_options()).paths["onnx"])
    (entry,) = (each for each in model.metadata_props if each.key == IMAGE_KEY)
    entry.value = entry.value.replace('"nchw"', '"wide"')
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(InputError, match="not what slide-deploy writes"):
        verify_file(tmp_path / "other.onnx", network_of(network, torch.zeros(1, 3, *SIZE)))


class TwoImages(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return (left - right).mean((2, 3))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"labels": ["a", "b"]}, "2 names and Classifier has 7 classes"),
        ({"labels": [*"abcdef", "a"]}, "has the name a twice, in lines 1 and 7"),
        ({"labels": [*"abcdef", " "]}, "no name in line 7"),
        ({"embed_preprocessing": True, "mean": (0.5,)}, "`mean` has 1 numbers"),
        ({"mean": (123.7, 116.3, 103.5)}, "divide it by 255"),
        ({"deviation": (0.2, 0.0, 0.2)}, "at least 0.001"),
        ({"mean": (float("nan"),) * 3}, "not finite"),
        ({"input_layout": "nhwc"}, "add `embed_preprocessing`"),
        ({"channel_order": "bgr"}, "add `embed_preprocessing`"),
        ({"embed_preprocessing": True, "input_layout": "hwc"}, "give nchw or nhwc"),
        ({"preset": "toaster"}, "choose one of cpu, intel, apple"),
    ],
)
def test_impossible_options_are_refused(asked: dict, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        slide_deploy.export(
            drawn(Classifier()), torch.zeros(1, 3, *SIZE), to="onnx", out=tmp_path / "out", **asked
        )
    assert not list(tmp_path.rglob("*.onnx"))


def test_networks_without_an_image_or_without_classes_are_refused(tmp_path: Path) -> None:
    images = (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match="takes left, right, but preprocessing can be embedded"):
        slide_deploy.export(TwoImages(), images, to="onnx", out=tmp_path, embed_preprocessing=True)
    maps = nn.Conv2d(3, 4, 1)
    for asked in ({"softmax": True}, {"labels": ["a"]}):
        with pytest.raises(InputError, match=r"output of logits|no class scores"):
            slide_deploy.export(maps, images[0], to="onnx", out=tmp_path, **asked)


def test_the_files_pass_their_own_rules_and_the_portable_ones() -> None:
    asked = pixel_options("nhwc", "bgr", softmax=True, labels=tuple("abcdefg"))
    for path in exported(drawn(Classifier()), "patches", asked).paths.values():
        assert slide_deploy.check(path).passed
        assert slide_deploy.check(path, "portable").passed
