"""Feature maps of all stages instead of logits, for detectors and segmenters."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from exporters.outcome import ExportOptions
from slide_deploy.backends import open_image_file
from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.graph_checks import check_file, load_policy, read_graph
from slide_deploy.graph_checks.interface import INTERFACE_KEY, read_interface
from slide_deploy.hosts import Overrides, load_checkpoint
from slide_deploy.images.prediction import predict
from slide_deploy.models.slide_swin import SlideSwin
from tests.support import (
    Golden,
    answers,
    export,
    exported,
    exported_path,
    golden_swin,
    locate,
    random_swin,
    randomise,
    save_folded,
    verify_file,
)

FORMATS = ("onnx", "openvino", "coreml")
STAGES = ("stage0", "stage1", "stage2", "stage3")


def blocks_answer(golden: Golden) -> list[np.ndarray]:
    """Return the outputs of each stage's blocks, from hooks on the trained classifier."""
    model = golden.load().classifier().double()
    seen: list[torch.Tensor] = []
    for stage in model.layers:
        stage.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model(golden.expected["image"][:1].double())
    sides = [model.config.resolution(stage) for stage in range(len(STAGES))]
    return [
        tokens.transpose(1, 2).unflatten(2, side).numpy()
        for tokens, side in zip(seen, sides, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dynamic_batch", "formats"),
    [
        ("slide_swin_nano", False, ("onnx",)),
        pytest.param("slide_swin_nano_shifted", True, FORMATS, marks=pytest.mark.full),
        pytest.param("slide_swin_nano", False, ("openvino", "coreml"), marks=pytest.mark.full),
    ],
)
def test_every_format_outputs_the_feature_maps_of_each_stage(
    name: str, dynamic_batch: bool, formats: tuple[str, ...]
) -> None:
    golden = golden_swin(name)
    checkpoint = golden.load()
    result = exported(checkpoint, dynamic_batch=dynamic_batch, features=True, formats=formats)
    assert result.passed
    expected = blocks_answer(golden)
    for file in result.files:
        assert file.violations == ()
        given = answers(file.paths[0], golden.expected["image"].numpy()[:1])
        assert tuple(given) == STAGES
        for answer, wanted in zip(given.values(), expected, strict=True):
            assert answer.shape == wanted.shape
            assert np.abs(answer - wanted).max() < 1e-4 * np.abs(wanted).max(), file.format
        assert {case.output for case in file.verification.cases} == set(STAGES)
        assert verify_file(file.paths[0], checkpoint).passed
    entries = json.loads(result.manifest.read_text())["files"]
    assert [entry["outputs"] for entry in entries] == [list(STAGES)] * len(formats)
    located = locate(result.files[0].paths[0], checkpoint)
    assert located.first_wrong is None


@pytest.fixture
def written(nano: Golden) -> Path:
    return exported_path(exported(nano.load(), features=True, formats=("onnx",)), "onnx")


@pytest.mark.slow
def test_weights_of_the_classifier_are_not_in_the_file(written: Path) -> None:
    names = {tensor.name for tensor in onnx.load(written).graph.initializer}
    assert "patch_embed.proj.weight" in names
    assert not {name for name in names if name.startswith(("head.", "norm."))}


def test_the_feature_maps_are_the_inputs_of_the_next_stage(nano: Golden) -> None:
    model = nano.load().classifier()
    image = nano.expected["image"]
    with torch.no_grad():
        maps = model.backbone()(image)
        for index, stage in enumerate(list(model.layers)[:-1]):
            merged = stage.downsample(maps[index].flatten(2).transpose(1, 2))
            assert torch.allclose(merged, nano.expected[f"stage{index}"], atol=1e-4)
        last = maps[-1].flatten(2).transpose(1, 2)
        logits = model.head(model.norm(last).mean(dim=1))
    assert torch.allclose(logits, nano.expected["logits"], atol=1e-4)


def test_one_wrong_feature_map_fails_and_is_named(written: Path, tmp_path: Path) -> None:
    model = onnx.load(written)
    (tensor,) = (t for t in model.graph.initializer if t.name == "layers.3.blocks.0.mlp.fc2.bias")
    values = onnx.numpy_helper.to_array(tensor) + np.float32(0.1)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    checkpoint = golden_swin("slide_swin_nano").load()
    result = verify_file(tmp_path / "wrong.onnx", checkpoint)
    assert set(result.failures) == {
        f"{case} at stage3" for case in ("noise", "border", "faint", "zeros")
    }
    assert locate(tmp_path / "wrong.onnx", checkpoint).first_wrong == "layers.3.blocks.0.mlp.fc2"


def without_a_map(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def with_two_maps_exchanged(model: onnx.ModelProto) -> None:
    first, second = (output.name for output in list(model.graph.output)[:2])
    names = {first: second, second: first}
    for node in model.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
    for output in list(model.graph.output)[:2]:
        output.name = names[output.name]


def with_a_map_renamed(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["c5" if name == "stage3" else name for name in node.output]
    model.graph.output[3].name = "c5"


@pytest.mark.parametrize("edit", [without_a_map, with_two_maps_exchanged, with_a_map_renamed])
def test_rules_detect_a_feature_map_that_differs_from_its_declaration(
    written: Path, tmp_path: Path, edit
) -> None:
    model = onnx.load(written)
    edit(model)
    onnx.save(model, tmp_path / "edited.onnx")
    assert "SD010" in {found.rule for found in check_file(tmp_path / "edited.onnx").violations}


def declaring(written: Path, folder: Path, text: str) -> Path:
    """Write a copy of the file with another interface."""
    model = onnx.load(written)
    (entry,) = (prop for prop in model.metadata_props if prop.key == INTERFACE_KEY)
    entry.value = text
    onnx.save(model, folder / "edited.onnx")
    return folder / "edited.onnx"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not JSON", "is not JSON"),
        ("[]", "is not an object"),
        ("{}", "has no list of inputs"),
        ('{"inputs": [], "outputs": [1]}', "has no list of outputs"),
        ('{"inputs": [{}], "outputs": []}', "has an entry of inputs without a name or a type"),
        (
            '{"inputs": [{"name": "a", "type": "float32", "shape": [8, -1]}], "outputs": []}',
            "has no valid shape of a",
        ),
        (
            '{"inputs": [{"name": "a", "type": "float32", "shape": [""]}], "outputs": []}',
            "has no valid shape of a",
        ),
        (
            json.dumps({"inputs": 2 * [{"name": "a", "type": "bool", "shape": []}], "outputs": []}),
            "gives two of its inputs the same name",
        ),
    ],
)
def test_an_invalid_declaration_breaks_the_rule(
    written: Path, tmp_path: Path, text: str, reason: str
) -> None:
    (found,) = check_file(declaring(written, tmp_path, text)).violations
    assert found.rule == "SD010"
    assert found.message == f"The file's slide_deploy.interface {reason}."


def test_feature_maps_are_declared_with_their_shapes(written: Path) -> None:
    declared = read_interface(read_graph(written).metadata)
    assert declared is not None
    assert [(port.name, port.type) for port in declared.outputs] == [
        (name, "float32") for name in STAGES
    ]
    assert declared.outputs[1].shape == (1, 16, 8, 8)


def test_a_policy_with_output_names_applies_to_every_file(written: Path, tmp_path: Path) -> None:
    own = tmp_path / "policy.toml"
    own.write_text('[[outputs]]\nname = "logits"\ntypes = ["float32"]\nshape = ["batch", 4]\n')
    broken = check_file(written, load_policy(own)).violations
    assert {found.node for found in broken} == {"logits", *STAGES}
    table = '[[outputs]]\nname = "{}"\ntypes = ["float32"]\nshape = [1, {}, "*", "*"]\n'
    own.write_text("".join(table.format(name, '"*"') for name in STAGES))
    assert check_file(written, load_policy(own)).passed
    own.write_text("".join(table.format(name, 96) for name in STAGES))
    assert {found.node for found in check_file(written, load_policy(own)).violations} == set(STAGES)


def test_predict_refuses_a_file_without_logits(written: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="predict needs logits"):
        predict(open_image_file(written), [tmp_path / "cat.jpg"], (), 1)


def test_a_folded_checkpoint_has_the_same_feature_maps(nano: Golden, tmp_path: Path) -> None:
    trained = nano.load()
    save_folded(reparameterize(trained.model)[0], trained, tmp_path / "folded.safetensors")
    again = load_checkpoint(tmp_path / "folded.safetensors")
    image = nano.expected["image"]
    with torch.no_grad():
        for ours, theirs in zip(
            again.model.backbone()(image), trained.model.backbone()(image), strict=True
        ):
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.fixture
def detector(tmp_path: Path) -> tuple[SlideSwin, Path]:
    """A backbone with normalised feature maps, and the checkpoint of its detector."""
    settings = random_swin(window_size=2, depths=(1, 1, 2)).config
    settings = replace(settings, num_classes=0, feature_norms=(1, 2))
    backbone = randomise(SlideSwin(settings, features=True))
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    state["neck.convs.0.weight"] = torch.zeros(3, 3, 1, 1)
    torch.save({"meta": {"epoch": 12}, "state_dict": state}, tmp_path / "detector.pth")
    return backbone, tmp_path / "detector.pth"


@pytest.mark.slow
def test_the_backbone_of_a_detector_outputs_the_feature_maps_that_the_detector_reads(
    detector: tuple[SlideSwin, Path], tmp_path: Path
) -> None:
    _, path = detector
    checkpoint = load_checkpoint(path, Overrides(image_size=(64, 32)))
    assert checkpoint.config.feature_norms == (1, 2)
    assert checkpoint.left_out == ("state_dict.neck.convs.0.weight",)
    assert "not part of the network: state_dict.neck" in checkpoint.remarks[0]
    result = export(checkpoint, ExportOptions(FORMATS, tmp_path / "out"), features=True)
    assert result.passed
    image = torch.randn(1, 3, 64, 32)
    model = checkpoint.model
    assert isinstance(model, SlideSwin)
    with torch.no_grad():
        raw = without_norms(model)(image)
        tokens = raw[1].flatten(2).transpose(1, 2)
        normed = model.get_submodule("norm1")(tokens).transpose(1, 2).reshape(raw[1].shape)
    for file in result.files:
        assert file.violations == ()
        given = answers(file.paths[0], image.numpy())
        assert np.abs(given["stage0"] - raw[0].numpy()).max() < 1e-4
        assert np.abs(given["stage1"] - normed.numpy()).max() < 1e-4


def without_norms(model: SlideSwin) -> SlideSwin:
    """Return the same layers without the normalisations of the feature maps."""
    bare = SlideSwin(replace(model.config, feature_norms=()), features=True)
    state = model.state_dict()
    bare.load_state_dict({name: state[name] for name in bare.state_dict()})
    return bare.eval()


def test_a_backbone_has_no_logits(detector: tuple[SlideSwin, Path], tmp_path: Path) -> None:
    _, path = detector
    with pytest.raises(InputError, match="--image-size 224"):
        load_checkpoint(path)
    checkpoint = load_checkpoint(path, Overrides(image_size=(32, 32)))
    with pytest.raises(InputError, match=r"without a classifier: .* export --features"):
        export(checkpoint, ExportOptions(("onnx",), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folded_backbone_can_be_loaded(detector: tuple[SlideSwin, Path], tmp_path: Path) -> None:
    _, path = detector
    trained = load_checkpoint(path, Overrides(image_size=(32, 32)))
    save_folded(reparameterize(trained.model)[0], trained, tmp_path / "folded.safetensors")
    again = load_checkpoint(tmp_path / "folded.safetensors")
    assert again.config == trained.config
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for ours, theirs in zip(again.model(image), trained.model(image), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4)


def test_a_backbone_shares_its_layers_with_the_classifier() -> None:
    model = random_swin(ape=True)
    backbone = model.backbone()
    assert backbone.backbone() is backbone
    assert backbone.layers is model.layers
    assert backbone.absolute_pos_embed is model.absolute_pos_embed
    assert not any(p.is_meta for p in backbone.parameters())
    assert not backbone.training
