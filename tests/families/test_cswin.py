"""CSWin computes its formulas, is read from every layout, and refuses invalid settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.checkpoint.stated import Stated
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts import Checkpoint, load_checkpoint
from slide_deploy.hosts.cswin import CSWIN
from slide_deploy.hosts.registry import published_named
from slide_deploy.models.cswin import Cswin, CswinConfig
from tests.families.cswin_by_hand import logits_by_hand, maps_by_hand, normed_by_hand
from tests.families.golden import FOLDER, family_golden
from tests.support import answers, exported, save_folded

State = dict[str, torch.Tensor]

SMALL = CswinConfig(
    image_size=(64, 64),
    num_classes=3,
    embed_dim=8,
    depths=(1, 1, 1, 1),
    num_heads=(2, 2, 4, 8),
    stripes=(1, 2, 2, 2),
)
NETWORKS = {
    "as published": SMALL,
    "three wide stripes": replace(
        SMALL, image_size=(96, 96), stripes=(3, 4, 3, 1), num_heads=(2, 4, 2, 2)
    ),
    "one position in the last stages": replace(
        SMALL, image_size=(32, 48), stripes=(1, 1, 1, 1), embed_dim=4
    ),
    "not square": replace(SMALL, image_size=(64, 96)),
    "no bias": replace(SMALL, qkv_bias=False, mlp_ratio=2.7),
    "a whole map before the last stage": replace(SMALL, whole_map=(False, False, True, True)),
    "stripes as wide as the map": replace(SMALL, stripes=(1, 8, 4, 1)),
    "slides everywhere": replace(SMALL, slide=(3, 3, 5, 3)),
    "blocks that differ": replace(
        SMALL, depths=(2, 1, 3, 2), slide=((3, 0), 0, (0, 5, 3), (0, 3)), image_size=(64, 128)
    ),
}
BACKBONES = {
    "tiled": replace(SMALL, feature_norms=(0, 2)),
    "padded": replace(SMALL, image_size=(61, 90), stripes=(3, 4, 5, 9)),
    "one position is missing": replace(
        SMALL, image_size=(60, 60), stripes=(4, 3, 5, 2), feature_norms=(0, 1, 2, 3)
    ),
    "wider than the map": replace(SMALL, image_size=(40, 52), stripes=(12, 7, 4, 7)),
    "slides in part": replace(
        SMALL, image_size=(50, 70), depths=(2, 1, 1, 1), slide=((0, 3), 0, 3, 0)
    ),
}


def random_cswin(config: CswinConfig, features: bool = False) -> Cswin:
    torch.manual_seed(0)
    model = Cswin(config, features=features)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval().requires_grad_(False)


def image_of(config: CswinConfig, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, config.in_channels, *config.image_size, dtype=torch.float64)


def saved(tmp_path: Path, state: Any) -> Path:
    torch.save(state, tmp_path / "cswin.pth")
    return tmp_path / "cswin.pth"


def options(config: CswinConfig, **others: Any) -> Overrides:
    """Return the settings that a file without slide attention does not determine."""
    known = {"image_size": config.image_size, "heads": config.num_heads, "stripes": config.stripes}
    return Overrides(**(known | others))


def loaded(tmp_path: Path, config: CswinConfig, features: bool = False) -> Checkpoint:
    path = saved(tmp_path, random_cswin(config, features).state_dict())
    return load_checkpoint(path, options(config))


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_feature_maps_equal_the_formulas(name: str) -> None:
    config = NETWORKS[name]
    model, image = random_cswin(config).double(), image_of(config)
    state = dict(model.state_dict())
    expected = logits_by_hand(state, config, image)
    assert (model(image) - expected).abs().max() < 1e-12 * max(1.0, expected.abs().max().item())
    maps = maps_by_hand(state, config, image)
    for found, hand in zip(model.backbone()(image), maps, strict=True):
        assert (found - hand).abs().max() < 1e-12 * max(1.0, hand.abs().max().item())


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_pad_and_normalise_their_feature_maps(name: str) -> None:
    config = BACKBONES[name]
    model, image = random_cswin(config, features=True).double(), image_of(config)
    state = dict(model.state_dict())
    expected = normed_by_hand(state, maps_by_hand(state, config, image))
    for found, hand in zip(model(image), expected, strict=True):
        assert (found - hand).abs().max() < 1e-12 * max(1.0, hand.abs().max().item())


def test_two_branches_with_stripes_as_wide_as_the_map_equal_one_branch() -> None:
    """The original code builds one branch then, which is the same function by other names."""
    model = random_cswin(replace(SMALL, stripes=(1, 2, 4, 2))).double()
    whole = random_cswin(replace(SMALL, whole_map=(False, False, True, True))).double()
    state = dict(model.state_dict())
    for part in ("weight", "bias"):
        name = f"stage3.0.attns.{{}}.get_v.{part}"
        halves = [state.pop(name.format(branch)) for branch in range(2)]
        state[name.format(0)] = torch.cat(halves)
    whole.load_state_dict(state)
    image = image_of(SMALL)
    assert torch.allclose(model(image), whole(image), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_settings_are_read_from_shapes_and_options(name: str, tmp_path: Path) -> None:
    config = NETWORKS[name]
    checkpoint = loaded(tmp_path, config)
    found = checkpoint.config
    # Hidden widths are rounded down, so shapes determine the ratio only approximately.
    assert replace(found, mlp_ratio=config.mlp_ratio) == config
    assert found.mlp_ratio == pytest.approx(config.mlp_ratio, abs=1 / config.embed_dim)
    assert not any("stripes" in each for each in checkpoint.remarks)


@pytest.mark.parametrize("layout", ["bare", "model", "average", "parallel", "segmenter"])
def test_every_layout_of_files_is_read(layout: str, tmp_path: Path) -> None:
    config = replace(SMALL, slide=(3, 0, 0, 0))
    state = random_cswin(config, features=layout == "segmenter").state_dict()
    content = {
        "bare": state,
        "model": {"model": state, "epoch": 3},
        "average": {
            "state_dict": {name: torch.zeros_like(tensor) for name, tensor in state.items()},
            "state_dict_ema": state,
        },
        "parallel": {"state_dict": {f"module.{name}": each for name, each in state.items()}},
        "segmenter": {
            "state_dict": {
                **{f"backbone.{name}": each for name, each in state.items()},
                "decode_head.conv_seg.weight": torch.ones(3, 8, 1, 1),
            }
        },
    }[layout]
    checkpoint = load_checkpoint(saved(tmp_path, content), Overrides(image_size=(64, 64)))
    assert checkpoint.host is CSWIN
    found = checkpoint.model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_a_backbone_has_norms_of_stages_instead_of_the_classifiers(tmp_path: Path) -> None:
    config = replace(SMALL, feature_norms=(1, 3))
    state = random_cswin(config, features=True).state_dict()
    assert {name for name in state if name.startswith("norm")} == {
        *("norm2.weight", "norm2.bias", "norm4.weight", "norm4.bias")
    }
    unused = {"norm.weight": torch.ones(64), "norm.bias": torch.ones(64)}
    checkpoint = load_checkpoint(saved(tmp_path, state | unused), options(config))
    assert checkpoint.config == replace(config, num_classes=0)
    assert any("left out: norm" in each for each in checkpoint.remarks)
    with pytest.raises(InputError, match="without a classifier"):
        checkpoint.classifier()


def shapes_of(config: CswinConfig, features: bool = False) -> StoredWeights:
    """Return stored weights with the shapes of a network, without values."""
    with torch.device("meta"):
        state = Cswin(config, features=features).state_dict()
    return StoredWeights(Path("cswin.pth"), "", "", dict(state), Stated())


def read(stored: StoredWeights, **given: Any) -> tuple[CswinConfig, tuple[str, ...]]:
    return CSWIN.infer(stored, Overrides(**given))


@pytest.mark.parametrize("each", CSWIN.published, ids=lambda each: each.name)
def test_published_files_determine_all_settings_but_the_stripes(each: Any) -> None:
    stored = shapes_of(each.config)
    config, remarks = read(stored)
    assert config == each.config
    assert any("stage 3" in remark and "--stripes" in remark for remark in remarks)
    larger, _ = read(stored, image_size=(384, 384))
    assert larger.stripes == (1, 2, 12, 12)
    assert CSWIN.architecture(larger) == each.name


def test_heads_of_a_large_network_with_slide_stages_are_the_published_ones() -> None:
    """Its last stage has wider heads than the slide stages, so widths do not determine them."""
    large = replace(published_named("cswin_large")[1].config, slide=(3, 3, 0, 0))
    stored = shapes_of(large)
    assert read(stored)[0].num_heads == (6, 12, 24, 24)


def test_a_segmenter_keeps_the_stripes_of_its_classifier() -> None:
    config = published_named("slide_cswin_tiny")[1].config
    stored = shapes_of(replace(config, feature_norms=(0, 1, 2, 3)), features=True)
    found, _ = read(stored, image_size=(512, 512))
    assert (found.stripes, found.feature_norms) == ((1, 2, 7, 7), (0, 1, 2, 3))
    assert CSWIN.architecture(found) == "slide_cswin_tiny"


def test_the_stripes_option_may_leave_out_the_last_stage() -> None:
    stored = shapes_of(published_named("cswin_tiny")[1].config)
    assert read(stored, stripes=(2, 4, 14))[0].stripes == (2, 4, 14, 14)
    assert read(stored, stripes=(2, 4, 14, 7))[0].stripes == (2, 4, 14, 7)
    for wrong in ((7,), (1, 2), (1, 2, 7, 7, 7)):
        with pytest.raises(InputError, match=f"--stripes gives {len(wrong)}"):
            read(stored, stripes=wrong)
    with pytest.raises(InputError, match="at least 1"):
        read(stored, stripes=(1, 0, 7))


def test_unknown_heads_must_be_given(tmp_path: Path) -> None:
    path = saved(tmp_path, random_cswin(SMALL).state_dict())
    with pytest.raises(InputError, match=f"{path} does not state the heads .*--heads"):
        load_checkpoint(path)
    with pytest.raises(InputError, match=r"Stage 0 .* vertical and horizontal stripes"):
        load_checkpoint(path, options(SMALL, heads=(1, 2, 4, 8)))
    with pytest.raises(InputError, match="which --window-size does not apply to"):
        load_checkpoint(path, options(SMALL, window_size=7))


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((80, 80), "64x64 or 128x128"),
        ((64, 100), "64x64 or 64x128"),
        ((56, 128), "64x128"),
        ((70, 65), "64x65 or 128x65"),
    ],
)
def test_a_classifier_whose_stripes_do_not_tile_is_refused(
    size: tuple[int, int], sizes: str, tmp_path: Path
) -> None:
    config = replace(SMALL, stripes=(1, 2, 4, 2))
    path = saved(tmp_path, random_cswin(config).state_dict())
    checkpoint = load_checkpoint(path, options(config, image_size=size))
    with pytest.raises(
        InputError, match=f"give --image-size {sizes}, other --stripes, or export"
    ) as caught:
        deployable_checkpoint(checkpoint)
    assert str(caught.value).startswith(f"{path}: An image of {size[0]}x{size[1]}")
    with pytest.raises(InputError, match=f"--image-size {sizes}"):
        checkpoint.model(torch.zeros(1, 3, *size))
    maps = deployable_checkpoint(checkpoint, features=True).model(torch.zeros(1, 3, *size))
    assert [each.shape[2:] for each in maps] == [checkpoint.config.resolution(s) for s in range(4)]


def test_stripes_of_slide_and_whole_map_stages_need_not_tile() -> None:
    config = replace(SMALL, stripes=(5, 5, 5, 5), slide=(3, 3, 0, 0))
    whole = replace(config, whole_map=(False, False, True, True))
    assert Cswin(whole)(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
    with pytest.raises(InputError, match=r"the stripes \(5 in stage 3\)"):
        Cswin(config)(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("size", [(128, 128), (64, 192)])
def test_another_image_size_keeps_the_stripes(size: tuple[int, int], tmp_path: Path) -> None:
    golden = family_golden("slide_cswin_nano_k5")
    folded = tmp_path / "folded.safetensors"
    trained = golden.load()
    save_folded(reparameterize(trained.model)[0], trained, folded)
    checkpoint = load_checkpoint(folded, Overrides(image_size=size))
    assert checkpoint.config == replace(trained.config, image_size=size)
    assert any("trained on 64x64 images" in each for each in checkpoint.remarks)
    config, image = checkpoint.config, torch.randn(1, 3, *size)
    expected = logits_by_hand(dict(trained.model.double().state_dict()), config, image.double())
    assert torch.allclose(checkpoint.model(image).double(), expected, atol=1e-4)


@pytest.mark.parametrize("stripes", [(1, 2, 2, 2), (1, 2, 2)])
def test_a_folded_file_states_its_stripes(stripes: tuple[int, ...], tmp_path: Path) -> None:
    trained = family_golden("slide_cswin_nano_k5").load()
    folded = tmp_path / "folded.safetensors"
    save_folded(reparameterize(trained.model)[0], trained, folded)
    assert load_checkpoint(folded, Overrides(stripes=stripes)).config == trained.config
    with pytest.raises(
        InputError, match=r"is a folded file with other stripes .*: leave out --stripes"
    ):
        load_checkpoint(folded, Overrides(stripes=(1, 4, 4)))


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    content = torch.load(FOLDER / "slide_cswin_nano.pth", weights_only=True)["state_dict_ema"]

    def refusal(**changes: torch.Tensor | None) -> str:
        state = {k: v for k, v in content.items() if changes.get(k, v) is not None}
        state |= {k: v for k, v in changes.items() if v is not None}
        path = saved(tmp_path, state)
        with pytest.raises(InputError) as caught:
            load_checkpoint(path, Overrides(image_size=(64, 64)))
        text = str(caught.value)
        assert str(path) in text and "\n" not in text
        return text

    block = {k: None for k in content if k.startswith("stage2.0.")}
    assert "lacks blocks of stage 2" in refusal(**block)
    stage = {k: None for k in content if k.startswith("stage2.")}
    assert "has only stages [1, 3, 4]" in refusal(**stage)
    assert "lacks merge1.conv.bias" in refusal(**{"merge1.conv.bias": None})
    branch = {k: None for k in content if k.startswith("stage3.1.attns.1.")}
    assert "lacks stage3.1.attns.1.get_v" in refusal(**branch)
    assert "has the shape (2, 2)" in refusal(**{"stage3.0.proj.weight": torch.ones(2, 2)})
    first = "stage3.0.attns.1.get_v"
    assert "does not have" in refusal(**{f"{first}.weight": None, f"{first}.bias": None})
    assert "lacks some" in refusal(**{"stage3.0.mlp.fc1.weight": None})
    assert "unexpected rank" in refusal(**{"stage1_conv_embed.0.weight": torch.ones(())})
    assert "NaN or infinity" in refusal(**{"norm.bias": torch.full((96,), torch.nan)})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stripes": (1, 2, 7)}, "each of the 4 stages"),
        ({"whole_map": (True,)}, "each of the 4 stages"),
        ({"stripes": (1, 2, -7, 7)}, "at least 1"),
        ({"embed_dim": 0}, "at least 1"),
        ({"mlp_ratio": 0.0}, "at least 1"),
        ({"feature_norms": (4,)}, "stages from 0 to 3"),
        ({"image_size": (2, 64)}, "leaves no feature map for stage 0"),
        ({"num_heads": (2, 4, 8, 17)}, "do not divide into 17 heads"),
        ({"num_heads": (2, 4, 1, 16)}, "vertical and horizontal"),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CswinConfig(**wrong)


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}


@pytest.mark.full
def test_files_of_the_plain_host_need_no_shape_operators(tmp_path: Path) -> None:
    """Kernels cut to narrow stripes are constants, and stripes are part of the open batch."""
    checkpoint = loaded(tmp_path, SMALL)
    result = exported(checkpoint, dynamic_batch=True)
    image = image_of(SMALL, 3).float()
    for file in result.files:
        assert file.violations == ()
        found = answers(file.paths[0], image.numpy())["logits"]
        assert np.abs(found - checkpoint.model(image).numpy()).max() < 1e-4, file.format
    assert not operators(result.files[0].paths[0]) & {"Slice", "Gather", "Pad", "Expand", "Shape"}


@pytest.mark.parametrize(
    "formats",
    [
        pytest.param(("onnx",), marks=pytest.mark.slow),
        pytest.param(("openvino", "coreml"), marks=pytest.mark.full),
    ],
)
def test_files_of_padded_feature_maps_agree(formats: tuple[str, ...], tmp_path: Path) -> None:
    config = BACKBONES["one position is missing"]
    checkpoint = loaded(tmp_path, config, features=True)
    result = exported(checkpoint, formats=formats, features=True, dynamic_batch=True)
    image = image_of(config, 3).float()
    maps = [each.numpy() for each in checkpoint.model(image)]
    for file in result.files:
        assert file.violations == ()
        for found, expected in zip(
            answers(file.paths[0], image.numpy()).values(), maps, strict=True
        ):
            assert np.abs(found - expected).max() < 1e-4, file.format
        if file.format == "onnx":
            assert not operators(file.paths[0]) & {"Expand", "Shape", "Gather"}
