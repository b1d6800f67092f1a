"""PVTv2 computes its formulas, is read from files of every layout, and refuses invalid ones."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.hosts import Checkpoint, Overrides, load_checkpoint
from slide_deploy.hosts.find import find_network
from slide_deploy.hosts.registry import published_named
from slide_deploy.models.parts import as_tokens
from slide_deploy.models.pooling import GridPool
from slide_deploy.models.pvt_v2 import PvtV2, PvtV2Config
from tests.families.golden import family_golden
from tests.families.naive_pvt_v2 import features, logits
from tests.support import GOLDEN, answers, exported, locate, randomise

State = Mapping[str, Tensor]

_SMALL: dict[str, Any] = {
    "image_size": (64, 64),
    "num_classes": 5,
    "embed_dims": (16, 32, 48, 64),
    "num_heads": (1, 2, 3, 4),
    "depths": (1, 2, 1, 1),
}


def small(**settings: Any) -> PvtV2Config:
    return PvtV2Config(**{**_SMALL, **settings})


def random_network(**settings: Any) -> PvtV2:
    network = PvtV2(small(**settings))
    randomise(network)
    return network


def state_of(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "network.pth")
    return folder / "network.pth"


def loaded(content: Any, folder: Path, **options: Any) -> Checkpoint:
    return load_checkpoint(saved(content, folder), Overrides(**{"image_size": (64, 64), **options}))


def timm_names(state: State) -> dict[str, Tensor]:
    """Rename tensors as timm names them."""
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("mlp.dwconv.dwconv.", "mlp.dwconv.").replace(
            "patch_embed1.", "patch_embed."
        )
        for stage in range(1, 5):
            name = re.sub(rf"^patch_embed{stage}\.", f"stages.{stage - 1}.downsample.", name)
            name = re.sub(rf"^block{stage}\.", f"stages.{stage - 1}.blocks.", name)
            name = re.sub(rf"^norm{stage}\.", f"stages.{stage - 1}.norm.", name)
        renamed[name] = tensor
    return renamed


_NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "plain without biases of q, k and v": {"qkv_bias": False},
    "sides that are rounded up": {"image_size": (70, 101)},
    "a reduction that drops rows and columns": {"image_size": (90, 77), "sr_ratios": (5, 3, 2, 1)},
    "a last stage that reduces": {"sr_ratios": (8, 4, 2, 2)},
    "slide": {"slide": (3, 3, 0, 0), "image_size": (64, 97)},
    "slide in the last stage": {"slide": (0, 0, 0, 3)},
    "blocks that differ": {"slide": (5, (0, 3), 0, 0), "image_size": (75, 64)},
    "linear": {"li": True},
    "linear, sides that seven divides": {"li": True, "image_size": (224, 112)},
    "linear, slide": {"li": True, "slide": (3, (3, 0), 0, 5), "image_size": (61, 130)},
}
_each_network = pytest.mark.parametrize("settings", _NETWORKS.values(), ids=list(_NETWORKS))


@_each_network
@torch.no_grad()
def test_outputs_equal_the_formulas(settings: dict[str, Any]) -> None:
    network = random_network(**settings).double()
    image = torch.rand(2, 3, *network.config.image_size, dtype=torch.float64)
    state, heads = state_of(network), network.config.num_heads
    assert (network(image) - logits(state, image, heads)).abs().max() < 1e-12
    maps = network.backbone()(image)
    assert len(maps) == 4
    for stage, (found, expected) in enumerate(
        zip(maps, features(state, image, heads), strict=True)
    ):
        assert found.shape[2:] == network.config.resolution(stage)
        assert (found - expected).abs().max() < 1e-12


def test_every_normalisation_has_the_epsilon_of_the_host() -> None:
    """The formulas do not show it, because the variance of tokens is far above both epsilons."""
    epsilons = {
        name: layer.eps
        for name, layer in random_network(li=True).named_modules()
        if isinstance(layer, nn.LayerNorm)
    }
    for name, epsilon in epsilons.items():
        of_patches = name.startswith("patch_embed") or name.endswith("attn.norm")
        assert epsilon == (1e-5 if of_patches else 1e-6), name
    assert len(epsilons) == 4 + 4 + 3 * 5


@pytest.mark.parametrize(
    "size",
    [
        (1, 1),
        (3, 5),
        (6, 20),
        (7, 7),
        (7, 14),
        (8, 7),
        (13, 9),
        (14, 14),
        (16, 16),
        (50, 56),
        (200, 304),
    ],
)
def test_grid_pool_equals_adaptive_pooling(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    found = GridPool(size, 7).double()(as_tokens(maps))
    expected = as_tokens(nn.functional.adaptive_avg_pool2d(maps, 7))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-12


@_each_network
def test_settings_are_read_from_shapes(settings: dict[str, Any], tmp_path: Path) -> None:
    network = random_network(**settings)
    size, heads = network.config.image_size, network.config.num_heads
    checkpoint = loaded(state_of(network), tmp_path, image_size=size, heads=heads)
    assert checkpoint.config == network.config
    assert checkpoint.remarks == ()


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    "name",
    ["pvt_v2_b0", "pvt_v2_b2_li", "pvt_v2_b5", "slide_pvt_v2_b1"],
)
def test_heads_of_published_sizes_are_known(name: str, tmp_path: Path) -> None:
    host, published = published_named(name)
    state = host.build(published.config, False, False).state_dict()
    path = saved(state, tmp_path)
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == published.config
    assert checkpoint.architecture == name
    assert ["224x224 is assumed" in each for each in checkpoint.remarks] == [True]


_LAYOUTS: dict[str, Callable[[State], Any]] = {
    "bare": dict,
    "training": lambda state: {"model": dict(state), "epoch": 3},
    "averaged": lambda state: {
        "state_dict": {name: torch.zeros_like(each) for name, each in state.items()},
        "state_dict_ema": dict(state),
    },
    "parallel": lambda state: {
        "state_dict": {f"module.{name}": each for name, each in state.items()}
    },
    "timm": timm_names,
    "timm, parallel": lambda state: {
        "model": {f"module.{name}": each for name, each in timm_names(state).items()}
    },
}


@pytest.mark.parametrize("layout", _LAYOUTS.values(), ids=list(_LAYOUTS))
@pytest.mark.parametrize("li", [False, True])
def test_layouts_of_checkpoints(layout: Callable[[State], Any], li: bool, tmp_path: Path) -> None:
    network = random_network(li=li, slide=(0, (3, 0), 0, 0))
    checkpoint = loaded(layout(state_of(network)), tmp_path)
    assert checkpoint.config == network.config
    for name, tensor in network.state_dict().items():
        assert torch.equal(checkpoint.model.state_dict()[name], tensor), name


@pytest.mark.parametrize("prefix", ["", "backbone."])
@pytest.mark.parametrize("names", [dict, timm_names])
@torch.no_grad()
def test_backbones_output_the_feature_maps_of_the_stages(
    prefix: str, names: Callable[[State], dict[str, Tensor]], tmp_path: Path
) -> None:
    network = random_network(slide=(3, 3, 0, 0))
    state = {
        f"{prefix}{name}": tensor
        for name, tensor in names(state_of(network)).items()
        if not name.startswith("head.")
    }
    checkpoint = loaded(state, tmp_path)
    assert not checkpoint.model.is_classifier
    image = torch.rand(1, 3, 64, 64)
    for found, expected in zip(checkpoint.model(image), network.backbone()(image), strict=True):
        assert torch.equal(found, expected)


def test_names_of_timm_with_features_only_are_read(tmp_path: Path) -> None:
    network = random_network(slide=(3, 3, 0, 0))
    state = {
        name.replace("stages.", "stages_"): tensor
        for name, tensor in timm_names(state_of(network)).items()
        if not name.startswith("head.")
    }
    assert "stages_0.blocks.0.mlp.dwconv.weight" in state
    assert loaded(state, tmp_path).config == small(slide=(3, 3, 0, 0), num_classes=0)


def test_a_network_whose_blocks_all_slide_may_be_linear(tmp_path: Path) -> None:
    network = random_network(slide=(3, 3, 3, 3))
    checkpoint = loaded(state_of(network), tmp_path)
    assert checkpoint.config == network.config
    (remark,) = checkpoint.remarks
    assert remark == (
        "every block uses slide attention, so the file does not tell whether its MLPs have the "
        "ReLU of the linear version (li): no ReLU is assumed"
    )


@pytest.mark.parametrize(
    ("path", "family"),
    [
        (GOLDEN / "hosts" / "slide_pvt_nano.pth", "pvt"),
        (GOLDEN / "hosts" / "slide_pvt_nano_k5.pth", "pvt"),
        (GOLDEN / "hosts" / "slide_pvt_v2_nano.pth", "pvt_v2"),
        (GOLDEN / "slide_swin_nano.pth", "slide_swin"),
        (GOLDEN / "slide_swin_nano_shifted.pth", "slide_swin"),
    ],
    ids=lambda each: each if isinstance(each, str) else each.stem,
)
def test_each_file_is_found_by_its_own_family(path: Path, family: str) -> None:
    host, _ = find_network(path)
    assert host.name == family


def test_timms_name_of_the_patch_embedding_does_not_mark_a_pvt_v2(tmp_path: Path) -> None:
    """Many networks use that name. This one is taken for a Slide-Swin."""
    names = ["patch_embed.proj", "blocks.0.norm1", "blocks.0.attn.qkv", "norm", "head"]
    vit = {f"{name}.{kind}": torch.zeros(4, 4) for name in names for kind in ("weight", "bias")}
    with pytest.raises(InputError, match="a Slide-Swin of these settings does not have"):
        loaded(vit, tmp_path)


@pytest.mark.parametrize(
    ("change", "settings", "options", "sentence"),
    [
        (
            lambda state: _without(state, "block2.0."),
            {},
            {},
            "lacks blocks of stage 2: it is not a complete PVTv2",
        ),
        (
            lambda state: _without(_without(state, "block3."), "patch_embed3."),
            {},
            {},
            r"has only stages \[1, 2, 4\]: it is not a complete PVTv2",
        ),
        (
            lambda state: _without(state, "norm2."),
            {},
            {"heads": (1, 2, 3, 4)},
            "lacks norm2.weight, norm2.bias: it is not a complete PVTv2 checkpoint",
        ),
        (
            lambda state: _without(state, "block3.0.mlp.dwconv."),
            {},
            {"heads": (1, 2, 3, 4)},
            "lacks block3.0.mlp.dwconv.dwconv.weight, block3.0.mlp.dwconv.dwconv.bias",
        ),
        (
            lambda state: _without(state, "patch_embed2."),
            {},
            {},
            "lacks some of a PVTv2",
        ),
        (
            lambda state: state | {"block2.1.attn.q.weight": torch.zeros(32, 16)},
            {},
            {"heads": (1, 2, 3, 4)},
            r"block2.1.attn.q.weight has the shape \(32, 16\)",
        ),
        (
            lambda state: state | {"block1.0.attn.sr.weight": torch.zeros(16, 16, 2, 2)},
            {"li": True},
            {"heads": (1, 2, 3, 4)},
            "block1.0.attn.sr.weight has the shape",
        ),
        (
            lambda state: state | {"pos_embed1": torch.zeros(1, 256, 16)},
            {},
            {"heads": (1, 2, 3, 4)},
            "holds pos_embed1, which a PVTv2 of these settings does not have",
        ),
        (dict, {}, {}, "does not state the heads of its stages of 16,32,48,64 channels: give"),
        (dict, {}, {"heads": (1, 2)}, "has 4 stages but --heads gives 2"),
        (dict, {}, {"heads": (3, 2, 3, 4)}, "16 channels, which do not divide into 3 heads"),
        (
            dict,
            {"slide": (3, 3, 0, 0)},
            {"heads": (2, 2, 3, 4)},
            "has 1,2,0,0 heads .* but --heads gives 2,2,3,4",
        ),
        (
            dict,
            {},
            {"heads": (1, 2, 3, 4), "image_size": (32, 16)},
            "Stage 0 has a feature map of 8x4, which is too small to be reduced 8 times",
        ),
        (
            dict,
            {},
            {"heads": (1, 2, 3, 4), "stripes": (1, 2, 7, 7)},
            "holds a PVTv2, which --stripes does not apply to",
        ),
        (
            dict,
            {},
            {"heads": (1, 2, 3, 4), "window_size": 7},
            "holds a PVTv2, which --window-size does not apply to",
        ),
    ],
)
def test_files_and_options_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Tensor]], Any],
    settings: dict[str, Any],
    options: dict[str, Any],
    sentence: str,
    tmp_path: Path,
) -> None:
    state = state_of(random_network(**settings))
    with pytest.raises(InputError, match=sentence) as refusal:
        loaded(change(state), tmp_path, **options)
    assert "network.pth" in str(refusal.value)


def _without(state: dict[str, Tensor], beginning: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(beginning)}


def test_a_linear_network_takes_feature_maps_of_any_size(tmp_path: Path) -> None:
    network = random_network(li=True)
    checkpoint = loaded(state_of(network), tmp_path, heads=(1, 2, 3, 4), image_size=(32, 5))
    assert checkpoint.config.resolution(3) == (1, 1)
    with torch.no_grad():
        assert checkpoint.model(torch.rand(1, 3, 32, 5)).isfinite().all()


@pytest.mark.slow
@torch.no_grad()
def test_another_image_size_needs_no_interpolation(tmp_path: Path) -> None:
    golden = family_golden("slide_pvt_v2_nano")
    checkpoint = load_checkpoint(golden.path, Overrides(image_size=(70, 101)))
    assert checkpoint.resized == ()
    assert checkpoint.config.resolution(0) == (18, 26)
    image = torch.rand(1, 3, 70, 101)
    state = {name: each.double() for name, each in checkpoint.model.state_dict().items()}
    expected = logits(state, image.double(), golden.settings["num_heads"])
    result = exported(checkpoint, formats=("onnx", "openvino"))
    for file in result.files:
        assert file.violations == ()
        found = answers(file.paths[0], image.numpy())["logits"]
        assert np.abs(found - expected.numpy()).max() < 1e-4, file.format


@pytest.mark.full
@torch.no_grad()
def test_files_of_the_linear_version(tmp_path: Path) -> None:
    """The sides of the first two feature maps are multiples of seven, those of the others not."""
    size = (112, 56)
    network = random_network(li=True, image_size=size, slide=(0, (3, 0), 0, 0))
    checkpoint = loaded(state_of(network), tmp_path, image_size=size)
    image = torch.rand(2, 3, *size)
    whole, maps = network(image).numpy(), [each.numpy() for each in network.backbone()(image)]
    for file in exported(checkpoint).files:
        assert file.violations == ()
        assert np.abs(answers(file.paths[0], image.numpy())["logits"] - whole).max() < 1e-4
        assert locate(file.paths[0], checkpoint).first_wrong is None
    for file in exported(checkpoint, features=True, dynamic_batch=True).files:
        assert file.violations == ()
        for found, expected in zip(
            answers(file.paths[0], image.numpy()).values(), maps, strict=True
        ):
            assert np.abs(found - expected).max() < 1e-4, file.format
