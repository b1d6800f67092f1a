"""NAT: neighbourhood attention equals the formula; settings read from files; refusals."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.errors import InputError
from slide_deploy.hosts import load_checkpoint
from slide_deploy.hosts.registry import architecture_name, published_named
from slide_deploy.models.nat import Nat, NatConfig
from slide_deploy.models.neighbourhood import (
    AxisTiles,
    NeighbourhoodAttention,
    Tiles,
    tile_sides,
)
from tests.families.golden import family_golden
from tests.support import answers, exported, locate, randomise

NANO = NatConfig(
    image_size=(64, 64), num_classes=3, embed_dim=16, depths=(1, 1, 2, 1), kernel_size=3
)


def by_the_formula(attention: NeighbourhoodAttention, kernel: int, tokens: Tensor) -> np.ndarray:
    """Compute neighbourhood attention one query at a time, in float64."""
    names = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "rpb")
    state = attention.state_dict()
    qkv, qkv_bias, proj, proj_bias, rpb = (state[name].numpy() for name in names)
    heads, (height, width) = len(rpb), attention.resolution
    maps = tokens.numpy().reshape(len(tokens), height, width, -1)
    channels = maps.shape[-1]
    below, right = max(0, kernel - height), max(0, kernel - width)
    maps = np.pad(maps, ((0, 0), (0, below), (0, right), (0, 0)))
    rows, columns = maps.shape[1:3]
    q, k, v = np.moveaxis(
        (maps @ qkv.T + qkv_bias).reshape(len(maps), rows, columns, 3, heads, -1), 3, 0
    )
    out = np.zeros((len(maps), height, width, channels))
    for image in range(len(maps)):
        for y in range(height):
            for x in range(width):
                top = min(max(y - kernel // 2, 0), rows - kernel)
                left = min(max(x - kernel // 2, 0), columns - kernel)
                outputs = []
                for head in range(heads):
                    places = [
                        (yy, xx)
                        for yy in range(top, top + kernel)
                        for xx in range(left, left + kernel)
                    ]
                    query = q[image, y, x, head]
                    logits = np.array(
                        [
                            query @ k[image, yy, xx, head] / len(query) ** 0.5
                            + rpb[head, yy - y + kernel - 1, xx - x + kernel - 1]
                            for yy, xx in places
                        ]
                    )
                    weights = np.exp(logits - logits.max())
                    values = np.stack([v[image, yy, xx, head] for yy, xx in places])
                    outputs.append(weights @ values / weights.sum())
                out[image, y, x] = np.concatenate(outputs)
    return (out @ proj.T + proj_bias).reshape(len(maps), height * width, channels)


def random_attention(
    kernel: int, resolution: tuple[int, int], sides: tuple[int, int] | None = None
) -> NeighbourhoodAttention:
    attention = NeighbourhoodAttention(12, 3, kernel, resolution, sides=sides)
    randomise(attention)
    with torch.no_grad():
        attention.rpb.mul_(10)  # so that a wrong entry has an effect
    return attention.double().eval()


@pytest.mark.parametrize(
    ("kernel", "resolution", "sides"),
    [
        (3, (3, 3), None),
        (3, (4, 9), None),
        (7, (7, 7), None),
        (7, (8, 8), None),
        (7, (6, 6), None),
        (7, (2, 3), None),
        (7, (5, 9), None),
        (7, (5, 23), None),
        (7, (21, 4), None),
        (5, (14, 13), None),
        (7, (17, 19), None),
        (7, (29, 10), None),
        (3, (23, 14), None),
        (1, (11, 12), None),
        (7, (14, 14), None),
        (7, (15, 14), None),
        (7, (14, 14), (2, 14)),
        (7, (14, 14), (7, 7)),
        (5, (11, 13), (4, 3)),
        (7, (8, 9), (7, 2)),
        (7, (8, 9), (1, 1)),
        (13, (15, 20), (5, 7)),
    ],
)
@torch.no_grad()
def test_neighbourhood_attention_equals_the_formula(
    kernel: int, resolution: tuple[int, int], sides: tuple[int, int] | None
) -> None:
    """Borders, feature maps smaller than the kernel, partial tiles and prime sides."""
    attention = random_attention(kernel, resolution, sides)
    tokens = torch.randn(2, resolution[0] * resolution[1], 12, dtype=torch.float64)
    expected = by_the_formula(attention, kernel, tokens)
    assert np.abs(attention(tokens).numpy() - expected).max() < 1e-12 * max(
        1, np.abs(expected).max()
    )


@pytest.mark.parametrize("kernel", [1, 3, 7, 13])
def test_the_keys_of_a_tile_contain_every_neighbourhood_of_it(kernel: int) -> None:
    """Each query has every offset of its neighbourhood once, for every side and tile."""
    for side in range(kernel, kernel + 40):
        for tile in range(1, side + 1):
            axis = AxisTiles(side, kernel, tile)
            assert axis.keys.min() >= 0
            assert axis.keys.max() < side
            inside = axis.offsets >= 0
            assert (inside.sum(axis=2) == kernel).all()
            assert axis.queries.reshape(-1)[:side].tolist() == list(range(side))


def test_a_feature_map_has_at_most_nine_kinds_of_tiles() -> None:
    for resolution in ((56, 56), (28, 28), (200, 320)):
        tiles = Tiles(resolution, 7, tile_sides(resolution, 7))
        entries, kinds = tiles.biases()
        assert len(entries) == 9
        assert len(kinds) == tiles.count > 9


def test_small_feature_maps_are_dense_and_large_ones_are_tiled() -> None:
    assert tile_sides((7, 7), 7) == (7, 7)
    assert tile_sides((12, 12), 7) == (12, 12)
    assert tile_sides((14, 14), 7) == (14, 14)
    assert tile_sides((28, 56), 7) == (7, 7)
    assert tile_sides((10, 64), 7) == (10, 8)
    assert tile_sides((22, 25), 13) == (22, 5)


def test_positions_outside_a_neighbourhood_have_zero_weight() -> None:
    """Even for logits far below those of trained networks."""
    attention = random_attention(3, (9, 9), (4, 4))
    tokens = torch.randn(1, 81, 12, dtype=torch.float64)
    far = tokens.clone()
    far[:, 40:] += 1e3  # no neighbourhood of the first row contains them
    with torch.no_grad():
        attention.rpb.sub_(2e3)
        assert torch.equal(attention(tokens)[:, :9], attention(far)[:, :9])


def test_layer_scale_is_applied_and_sizes_round_up() -> None:
    config = NatConfig(
        image_size=(65, 90),
        num_classes=3,
        embed_dim=16,
        depths=(1, 1, 1, 1),
        kernel_size=3,
        layer_scale=True,
    )
    assert [config.resolution(stage) for stage in range(4)] == [(17, 23), (9, 12), (5, 6), (3, 3)]
    model = randomise(Nat(config)).double().eval()
    block = model.levels[0].blocks[0]
    tokens = torch.randn(1, 17 * 23, 16, dtype=torch.float64)
    with torch.no_grad():
        attended = tokens + block.gamma1 * block.attn(block.norm1(tokens))
        expected = attended + block.gamma2 * block.mlp(block.norm2(attended))
        assert torch.allclose(block(tokens), expected, atol=1e-12)
        sizes = [tokens.shape[1] for tokens in model.stages(torch.randn(1, 3, 65, 90).double())]
    assert sizes == [17 * 23, 9 * 12, 5 * 6, 3 * 3]


def saved(config: NatConfig, path: Path, features: bool = False, **beside: Any) -> Path:
    torch.manual_seed(0)
    state = randomise(Nat(config, features=features)).state_dict()
    torch.save({"state_dict": state, **beside} if beside else state, path)
    return path


PLAIN = NatConfig(**{**NANO.__dict__, "num_heads": (1, 2, 4, 8)})
MIXED = NatConfig(**{**PLAIN.__dict__, "slide": (0, 3, (0, 5), 3), "layer_scale": True})


@pytest.mark.parametrize("config", [PLAIN, MIXED], ids=["plain", "blocks that differ"])
def test_settings_are_read_for_plain_and_mixed_blocks(config: NatConfig, tmp_path: Path) -> None:
    loaded = load_checkpoint(saved(config, tmp_path / "a.pth"), Overrides(image_size=(64, 64)))
    assert loaded.config == config
    assert not loaded.model.training


def test_a_published_size_is_recognised_by_its_shapes(tmp_path: Path) -> None:
    """The tables determine the heads, so no option is needed."""
    _, architecture = published_named("slide_nat_mini")
    path = tmp_path / "nat.pth"
    torch.save(Nat(architecture.config).state_dict(), path)
    loaded = load_checkpoint(path)
    assert loaded.architecture == "slide_nat_mini"
    assert any("224x224 is assumed" in each for each in loaded.remarks)


@pytest.mark.parametrize("key", ["model", "state_dict", "state_dict_ema"])
def test_every_layout_of_files_is_read(key: str, tmp_path: Path) -> None:
    state = randomise(Nat(PLAIN)).state_dict()
    path = tmp_path / "a.pth"
    torch.save({key: {f"module.{name}": held for name, held in state.items()}, "epoch": 3}, path)
    loaded = load_checkpoint(path, Overrides(image_size=(64, 64)))
    assert loaded.config == PLAIN
    assert torch.equal(loaded.model.state_dict()["head.bias"], state["head.bias"])


@torch.no_grad()
def test_detectors_backbones_normalise_some_feature_maps(tmp_path: Path) -> None:
    """A normalisation has the number of its stage."""
    config = NatConfig(**{**PLAIN.__dict__, "num_classes": 0, "feature_norms": (1, 3)})
    path = saved(config, tmp_path / "backbone.pth", features=True)
    loaded = load_checkpoint(path, Overrides(image_size=(64, 64)))
    assert loaded.config == config
    image = torch.randn(1, 3, 64, 64)
    stages, maps = loaded.model.stages(image), loaded.model(image)
    for stage, (tokens, found) in enumerate(zip(stages, maps, strict=True)):
        if stage in (1, 3):
            mean, deviation = tokens.mean(-1, keepdim=True), tokens.var(-1, False, keepdim=True)
            norm = loaded.model.get_submodule(f"norm{stage}")
            tokens = (tokens - mean) / (deviation + 1e-5).sqrt() * norm.weight + norm.bias
        assert torch.allclose(found.flatten(2).transpose(1, 2), tokens, atol=1e-5)
    with pytest.raises(InputError, match="backbone without a classifier"):
        loaded.classifier()


@torch.no_grad()
def test_another_image_size_needs_no_change(tmp_path: Path) -> None:
    path = saved(PLAIN, tmp_path / "a.pth")
    state = load_checkpoint(path, Overrides(image_size=(64, 64))).model.state_dict()
    loaded = load_checkpoint(path, Overrides(image_size=(50, 131)))
    assert loaded.config.image_size == (50, 131)
    assert loaded.resized == ()
    assert all(torch.equal(held, state[name]) for name, held in loaded.model.state_dict().items())
    assert loaded.model(torch.randn(1, 3, 50, 131)).shape == (1, 3)


def test_heads_that_contradict_the_file_are_refused(tmp_path: Path) -> None:
    path = saved(PLAIN, tmp_path / "a.pth")
    assert load_checkpoint(path, Overrides(heads=(1, 2, 4, 8))).config.num_heads == (1, 2, 4, 8)
    with pytest.raises(InputError, match="leave out --heads"):
        load_checkpoint(path, Overrides(heads=(2, 4, 8, 16)))
    with pytest.raises(InputError, match="--stripes does not apply"):
        load_checkpoint(path, Overrides(stripes=(1, 2, 7, 7)))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("levels.2.blocks.0", None, "lacks blocks of stage 2"),
        ("levels.1", None, "has only stages .0, 2, 3."),
        ("levels.0.downsample.norm.bias", None, "lacks levels.0.downsample.norm.bias"),
        ("levels.0.downsample.reduction.weight", (32, 16, 2, 2), "has the shape"),
        ("levels.2.blocks.1.attn.rpb", (4, 7, 7), "has the shape"),
        ("levels.0.blocks.0.attn.rpb", (4,), "unexpected rank"),
        ("levels.0.blocks.0.attn.rpb", (1, 6, 6), "has the shape"),
        ("levels.3.blocks.0.gamma1", (128,), "does not have"),
        (
            "levels.0.downsample.reduction.bias",
            (32,),
            "which a NAT of these settings does not have",
        ),
    ],
)
def test_damaged_files_are_refused(
    name: str, shape: tuple[int, ...] | None, message: str, tmp_path: Path
) -> None:
    """A tensor without a shape is left out."""
    state = dict(Nat(PLAIN).state_dict())
    if shape is None:
        state = {key: held for key, held in state.items() if not f"{key}.".startswith(f"{name}.")}
    else:
        state[name] = torch.zeros(shape)
    path = tmp_path / "a.pth"
    torch.save(state, path)
    with pytest.raises(InputError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"embed_dim": 15}, "must be even"),
        ({"mlp_ratio": 0.0}, "no hidden channels"),
        ({"kernel_size": 4}, "must be odd"),
        ({"feature_norms": (4,)}, "stages from 0 to 3"),
        ({"num_heads": (3, 2, 4, 8)}, "do not divide into 3 heads"),
        ({"image_size": (64, 9000)}, "exceeds the supported size"),
        ({"slide": (3, 0, 0)}, "one number per stage"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NatConfig(**{**PLAIN.__dict__, **changed})


@pytest.mark.slow
@pytest.mark.parametrize("size", [(100, 149), pytest.param((40, 200), marks=pytest.mark.full)])
def test_files_with_partial_tiles_agree(size: tuple[int, int]) -> None:
    """Odd sides, rectangles, and a side below the kernel."""
    loaded = load_checkpoint(
        family_golden("slide_nat_nano_padded").path, Overrides(image_size=size)
    )
    image = np.random.default_rng(0).standard_normal((1, 3, *size)).astype(np.float32)
    with torch.no_grad():
        logits = loaded.model(torch.from_numpy(image)).numpy()
    for file in exported(loaded).files:
        assert file.violations == ()
        assert np.abs(answers(file.paths[0], image)["logits"] - logits).max() < 1e-4, file.format
        assert locate(file.paths[0], loaded).first_wrong is None


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("dinat_mini_in1k_224.pth", {}),
        ("run.pth", {"arch": "dinat_mini"}),
        ("run.pth", {"meta": {"config": "backbone = dict(type='DiNAT', dilations=[[1, 8]])"}}),
    ],
)
def test_dilated_neighbourhoods_are_refused(tmp_path: Path, name: str, beside: dict) -> None:
    state = randomise(Nat(NatConfig(embed_dim=8, depths=(1, 1, 1, 1)))).state_dict()
    torch.save({"model": state, **beside}, tmp_path / name)
    with pytest.raises(InputError, match="dilated neighbourhoods, which no tensor shows"):
        load_checkpoint(tmp_path / name)


def test_a_backbone_keeps_the_name_of_its_size() -> None:
    config = published_named("nat_mini")[1].config
    detector = replace(config, num_classes=0, feature_norms=(0, 1, 2, 3), image_size=(800, 608))
    assert architecture_name(detector) == "nat_mini"


def test_a_remark_names_feature_maps_below_the_neighbourhood() -> None:
    padded = family_golden("slide_nat_nano_padded").load().remarks
    assert any(
        "maps of stages 3 and 4 are smaller than a neighbourhood of 7x7" in e for e in padded
    )
    assert not any("padded" in e for e in family_golden("slide_nat_nano").load().remarks)
