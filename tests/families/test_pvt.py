"""PVT: position tables, the class token, settings read from files, and refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from exporters.outcome import ExportOptions
from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.errors import InputError
from slide_deploy.hosts import Checkpoint, load_checkpoint
from slide_deploy.hosts.registry import published_named
from slide_deploy.models.parts import as_nchw
from slide_deploy.models.pvt import Pvt, PvtConfig
from slide_deploy.models.pvt_v2 import PvtV2, PvtV2Config
from tests.families.golden import family_golden
from tests.support import FORMATS, answers, export, randomise

SMALL = PvtConfig(
    image_size=(64, 64),
    num_classes=3,
    embed_dims=(8, 16, 24, 32),
    depths=(1, 2, 1, 1),
    num_heads=(1, 2, 3, 4),
    slide=(3, (0, 5), 0, 0),
)
NAMES = tuple(f"pos_embed{stage}" for stage in (1, 2, 3, 4))


@pytest.fixture
def trained() -> Pvt:
    return randomise(Pvt(SMALL)).eval()


@pytest.fixture
def path(trained: Pvt, tmp_path: Path) -> Path:
    path = tmp_path / "pvt.pth"
    torch.save(trained.state_dict(), path)
    return path


def image(height: int, width: int) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def by_hand(model: Pvt, tables: dict[str, Tensor], pixels: Tensor, token: bool) -> list[Tensor]:
    """Compute the tokens of each stage with the class token first, as in the original code."""
    maps, stages = pixels, []
    for stage in range(4):
        tokens = model.get_submodule(f"patch_embed{stage + 1}")(maps)
        table = tables[NAMES[stage]]
        if stage == 3 and token:
            tokens = torch.cat((model.cls_token.expand(len(tokens), -1, -1), tokens), dim=1)
        elif stage == 3:
            table = table[:, 1:]
        tokens = tokens + table
        for block in model.get_submodule(f"block{stage + 1}").children():
            tokens = tokens + block.attn(block.norm1(tokens))
            tokens = tokens + block.mlp(block.norm2(tokens))
        stages.append(tokens)
        if stage < 3:
            maps = as_nchw(tokens, model.config.resolution(stage))
    return stages


@torch.no_grad()
def test_the_class_token_comes_first(trained: Pvt) -> None:
    model, pixels = trained.double(), image(64, 64).double()
    stages = by_hand(model, dict(model.named_parameters()), pixels, token=True)
    for found, expected in zip(model.stages(pixels), stages, strict=True):
        assert (found - expected).abs().max() < 1e-12
    logits = model.head(model.norm(stages[-1])[:, 0])
    assert (model(pixels) - logits).abs().max() < 1e-12


@torch.no_grad()
def test_a_backbone_has_no_class_token(trained: Pvt) -> None:
    model, pixels = trained.double(), image(64, 64).double()
    stages = by_hand(model, dict(model.named_parameters()), pixels, token=False)
    for stage, found in enumerate(model.backbone()(pixels)):
        expected = as_nchw(stages[stage], SMALL.resolution(stage))
        assert (found - expected).abs().max() < 1e-12


@torch.no_grad()
@pytest.mark.parametrize("size", [(96, 64), (65, 130), (32, 32)])
def test_tables_are_resized_as_in_the_original_code(
    trained: Pvt, path: Path, size: tuple[int, int]
) -> None:
    """Bilinear, without aligned corners, and without the class token's entry."""
    loaded = load_checkpoint(path, Overrides(image_size=size))
    tables = {}
    for stage, name in enumerate(NAMES):
        table = trained.get_parameter(name).double()
        first, grid = table[:, : stage == 3], table[:, int(stage == 3) :]
        side = 16 // 2**stage
        picture = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        target = (size[0] // (4 * 2**stage), size[1] // (4 * 2**stage))
        resized = functional.interpolate(picture, target, mode="bilinear", align_corners=False)
        tables[name] = torch.cat((first, resized.flatten(2).transpose(1, 2)), dim=1)
        found = loaded.model.get_parameter(name)
        assert found.shape == tables[name].shape
        assert (found - tables[name]).abs().max() < 1e-6
    assert loaded.resized == NAMES
    assert "trained on 64x64 images" in loaded.remarks
    assert any("the original code does the same" in each for each in loaded.remarks)
    model = loaded.model.double()
    pixels = image(*size).double()
    # The blocks of the loaded model have the new feature map sizes.
    stages = by_hand(model, dict(model.named_parameters()), pixels, token=True)
    assert (model(pixels) - model.logits(stages[-1])).abs().max() < 1e-12


def test_rectangular_images_are_inferred_from_tables_and_stated_sizes(tmp_path: Path) -> None:
    """A stated image size is used. Without one, a square image is assumed."""
    config = replace(SMALL, image_size=(32, 128))
    state = randomise(Pvt(config)).state_dict()
    torch.save({"model": state, "args": {"input_size": [3, 32, 128]}}, tmp_path / "stated.pth")
    assert load_checkpoint(tmp_path / "stated.pth").config == config
    wide = replace(SMALL, image_size=(32, 64))
    torch.save(randomise(Pvt(wide)).state_dict(), tmp_path / "wide.pth")
    with pytest.raises(
        InputError, match="128 entries, which is not a square grid: give the training"
    ):
        load_checkpoint(tmp_path / "wide.pth")
    assert load_checkpoint(tmp_path / "wide.pth", Overrides(image_size=(32, 64))).config == wide


def test_tables_take_precedence_over_a_stated_size(trained: Pvt, tmp_path: Path) -> None:
    content = {"model": trained.state_dict(), "config": {"DATA": {"IMG_SIZE": 96}}}
    torch.save(content, tmp_path / "tuned.pth")
    loaded = load_checkpoint(tmp_path / "tuned.pth")
    assert loaded.config == SMALL
    assert any(
        "image_size is (96, 96) in the stored configuration but (64, 64) in the" in e
        for e in loaded.remarks
    )


@pytest.mark.parametrize(("scale", "fits"), [(None, True), (8**-0.5, True), (0.5, False)])
def test_a_stated_query_scale_must_be_the_default(
    trained: Pvt, tmp_path: Path, scale: float | None, fits: bool
) -> None:
    torch.save({"model": trained.state_dict(), "args": {"qk_scale": scale}}, tmp_path / "a.pth")
    if fits:
        assert load_checkpoint(tmp_path / "a.pth").config == SMALL
        return
    with pytest.raises(InputError, match=r"states qk_scale 0\.5, .* the default scale only"):
        load_checkpoint(tmp_path / "a.pth")


def test_the_trained_size_leaves_the_tables_unchanged(trained: Pvt, path: Path) -> None:
    loaded = load_checkpoint(path, Overrides(image_size=(64, 64)))
    assert loaded.config == SMALL
    assert (loaded.resized, loaded.trained_size) == ((), (64, 64))
    for name in NAMES:
        assert torch.equal(loaded.model.get_parameter(name), trained.get_parameter(name))


@pytest.mark.parametrize(
    "features",
    [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=pytest.mark.full)],
)
def test_files_at_another_size(path: Path, tmp_path: Path, features: bool) -> None:
    loaded = load_checkpoint(path, Overrides(image_size=(96, 72)))
    options = ExportOptions(FORMATS, tmp_path / "out")
    result = export(loaded, options, features=features, dynamic_batch=True)
    assert result.passed
    pixels = image(96, 72)
    with torch.no_grad():
        expected = loaded.model.backbone()(pixels) if features else (loaded.model(pixels),)
    for file in result.files:
        assert file.violations == ()
        for found, truth in zip(
            answers(file.paths[0], pixels.numpy()).values(), expected, strict=True
        ):
            assert abs(found - truth.numpy()).max() < 1e-4


def test_the_backbone_of_a_detector_is_loaded(trained: Pvt, tmp_path: Path) -> None:
    unused = ("cls_token", "norm.", "head.")
    state = {
        f"backbone.{name}": each
        for name, each in trained.state_dict().items()
        if not name.startswith(unused)
    }
    torch.save({"state_dict": state}, tmp_path / "detector.pth")
    loaded = load_checkpoint(tmp_path / "detector.pth")
    assert not loaded.model.is_classifier
    assert loaded.config == replace(SMALL, num_classes=0)
    with pytest.raises(InputError, match="without a classifier"):
        loaded.classifier()


def test_a_classifier_without_its_head_is_a_backbone(trained: Pvt, tmp_path: Path) -> None:
    state = {name: each for name, each in trained.state_dict().items() if "head" not in name}
    torch.save(state, tmp_path / "headless.pth")
    loaded = load_checkpoint(tmp_path / "headless.pth")
    assert loaded.left_out == ("cls_token", "norm.weight", "norm.bias")


def plain(tmp_path: Path, config: PvtConfig) -> Path:
    torch.save({"model": randomise(Pvt(config)).state_dict()}, tmp_path / "plain.pth")
    return tmp_path / "plain.pth"


def test_heads_of_a_published_size_are_known(tmp_path: Path) -> None:
    _, size = published_named("pvt_tiny")
    config = replace(size.config, num_classes=7)
    loaded: Checkpoint = load_checkpoint(plain(tmp_path, config))
    assert loaded.config == config
    assert loaded.architecture == "pvt_tiny"


def test_unknown_heads_are_given_by_the_user(tmp_path: Path) -> None:
    config = replace(SMALL, slide=(0, 0, 0, 0))
    path = plain(tmp_path, config)
    with pytest.raises(InputError, match=r"the heads of its stages of 8,16,24,32 channels"):
        load_checkpoint(path)
    assert load_checkpoint(path, Overrides(heads=(1, 2, 3, 4))).config == config
    other = load_checkpoint(path, Overrides(heads=(2, 4, 6, 8)))
    assert other.config.num_heads == (2, 4, 6, 8)


@pytest.mark.parametrize(
    ("heads", "sentence"),
    [
        ((1, 2, 3), "has 4 stages but --heads gives 3"),
        ((2, 2, 3, 4), "--heads gives 2,2,3,4: leave out --heads"),
        ((1, 2, 5, 4), "do not divide into 5 heads"),
    ],
)
def test_heads_that_do_not_fit_are_refused(
    path: Path, heads: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        load_checkpoint(path, Overrides(heads=heads))


def slide_in_the_last_stage(state: dict[str, Tensor]) -> None:
    other = PvtV2Config(
        embed_dims=SMALL.embed_dims, depths=SMALL.depths, num_heads=(1, 2, 3, 4), slide=(0, 0, 0, 3)
    )
    for name in [name for name in state if name.startswith("block4.0.attn")]:
        del state[name]
    sliding = randomise(PvtV2(other)).state_dict()
    state |= {name: each for name, each in sliding.items() if name.startswith("block4.0.attn")}


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            slide_in_the_last_stage,
            "a class token, which is not in the feature map, so",
        ),
        (
            lambda state: state.update(pos_embed1=torch.zeros(1, 255, 8)),
            "255 entries, .* --image-size",
        ),
        (lambda state: state.pop("pos_embed2"), "not a complete PVT checkpoint"),
        (lambda state: state.update(pos_embed2=torch.zeros(1, 63, 16)), "pos_embed2 has the shape"),
        (lambda state: state.pop("block1.0.norm1.weight"), "not a complete PVT checkpoint"),
        (
            lambda state: [state.pop(name) for name in list(state) if name.startswith("block2.0")],
            "lacks blocks of stage 2",
        ),
        (
            lambda state: [state.pop(name) for name in list(state) if name.startswith("block2")],
            r"has only stages \[1, 3, 4\]",
        ),
        (lambda state: state.update({"block1.0.attn.more": torch.ones(2)}), "a PVT of these"),
    ],
)
def test_invalid_files_are_refused(
    trained: Pvt, tmp_path: Path, edit: Callable[[dict[str, Tensor]], object], sentence: str
) -> None:
    state = dict(trained.state_dict())
    edit(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(InputError, match=sentence):
        load_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (Overrides(image_size=(16, 64)), "leaves no feature map for stage 3"),
        (Overrides(image_size=(10_000, 64)), "exceeds the supported size"),
        (Overrides(window_size=7), "a PVT, which --window-size does not apply to"),
        (Overrides(stripes=(1, 2, 7)), "a PVT, which --stripes does not apply to"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    path: Path, overrides: Overrides, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        load_checkpoint(path, overrides)


def test_a_feature_map_that_is_too_small_to_be_reduced_is_refused() -> None:
    with pytest.raises(InputError, match="too small to be reduced 16 times"):
        replace(SMALL, slide=(0, 0, 0, 0), image_size=(32, 64), sr_ratios=(16, 1, 1, 1))
    # A stage with slide attention is not reduced.
    replace(SMALL, slide=(3, 3, 0, 0), image_size=(32, 64), sr_ratios=(99, 99, 1, 1))


def test_a_golden_at_its_own_size_is_not_resized() -> None:
    loaded = family_golden("slide_pvt_nano").load()
    assert loaded.resized == ()
    assert loaded.entry == "model"
