"""Slide stages on maps answer as the trained model, in float64, and leave maps at their end."""

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from slide_deploy.lowerings.map_stages import (
    MapBlock,
    MapPatchEmbed,
    MapPatchMerging,
    Normalisation,
    Tokens,
)
from torch import nn
from torch.nn import functional

from exporters.registry import exporter_for
from slide_deploy.errors import InputError
from slide_deploy.lowerings import FORMS, Chooser, Lowering, Traits, lower
from slide_deploy.models.backbone import backbone_of
from slide_deploy.models.slide_attention import FoldedSlideAttention
from slide_deploy.models.slide_swin import Block, PatchEmbed, PatchMerging
from slide_deploy.reparameterize import reparameterize
from tests.support import answers, image_request, random_swin, randomise

ON_MAPS = [form for form in FORMS if FORMS[form].on_maps]


def on_maps(model: nn.Module, lowering: Lowering | Chooser) -> nn.Module:
    return lower(model, lowering, Traits(bare_products=True, map_stages=True))


@pytest.mark.parametrize("form", ON_MAPS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"image_size": (64, 32), "ape": True},
        {"num_slide_stages": 1, "depths": (1, 2, 2), "qkv_bias": False},
        {"num_slide_stages": 3, "patch_norm": False},
        {
            "dim_reduction": 2,
            "share_qkv": True,
            "kernel_size": 5,
            "image_size": (48, 80),
            "window_size": 1,
        },
        {"share_dwc_kernel": False, "rpb": False, "patch_size": 2, "depths": (2,)},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_whole_models(form: str, settings: dict) -> None:
    settings = {"num_heads": (1, 2, 4)[: len(settings.get("depths", (1, 1, 2)))]} | settings
    if settings.get("depths") == (2,):
        settings["num_slide_stages"] = 1
    model = random_swin(**settings).double()
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    for index, norm in enumerate(norms):
        norm.eps = 1e-3 * (index + 1)
    image = torch.randn(3, 3, *model.config.image_size, dtype=torch.float64)
    lowered = on_maps(reparameterize(model)[0], Lowering(form, 2))
    slide = model.config.num_slide_stages
    for stage, layer in enumerate(lowered.layers):
        blocks = {type(block) for block in layer.blocks} - {Tokens}
        assert blocks == {MapBlock if stage < slide else Block}
        merging = [type(module) for module in layer.modules()].count(MapPatchMerging)
        assert merging == (stage < slide and layer.downsample is not None)
    with torch.no_grad():
        assert (lowered(image) - model(image)).abs().max() < 1e-12


@pytest.mark.parametrize("feature_norms", [(), (0, 1, 2)])
def test_the_maps_of_a_backbone(feature_norms: tuple[int, ...]) -> None:
    model = random_swin().double()
    backbone = backbone_of(model)
    for stage in feature_norms:
        norm = nn.LayerNorm(model.config.dim(stage), dtype=torch.float64)
        torch.nn.init.normal_(norm.bias)
        backbone.add_module(f"norm{stage}", norm)
    backbone.config = replace(backbone.config, feature_norms=feature_norms)
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    lowered = on_maps(reparameterize(backbone.eval())[0], Lowering("running-mean"))
    assert isinstance(lowered.patch_embed, MapPatchEmbed)
    with torch.no_grad():
        for written, trained in zip(lowered(image), backbone(image), strict=True):
            assert (written - trained).abs().max() < 1e-12


def test_stages_behind_one_that_is_not_on_maps_stay_on_tokens() -> None:
    model = random_swin(num_slide_stages=3, depths=(2, 2, 1)).double()
    folded, _ = reparameterize(model)
    attentions = [module for module in folded.modules() if isinstance(module, FoldedSlideAttention)]

    def flat_from(first: int) -> Chooser:
        flat = set(map(id, attentions[first:]))
        return lambda attention: Lowering("flat" if id(attention) in flat else "per-offset")

    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    for first, stages in ((0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 3)):
        lowered = on_maps(folded, flat_from(first))
        found = [type(layer.blocks[0]) is MapBlock for layer in lowered.layers]
        assert found == [True] * stages + [False] * (3 - stages)
        assert isinstance(lowered.patch_embed, MapPatchEmbed if stages else PatchEmbed)
        with torch.no_grad():
            assert (lowered(image) - model(image)).abs().max() < 1e-12


def test_each_attention_has_its_own_form() -> None:
    model = random_swin(depths=(2, 2), num_heads=(1, 2))
    lowerings = [Lowering(form, 1 + place % 2) for place, form in enumerate(ON_MAPS[:4])]
    chosen = iter(lowerings)
    lowered = on_maps(reparameterize(model)[0], lambda attention: next(chosen))
    attentions = [block.attn for layer in lowered.layers[:2] for block in layer.blocks[:2]]
    assert [type(each.form) for each in attentions] == [FORMS[each.form] for each in lowerings]
    assert [each.strips for each in attentions] == [each.strips for each in lowerings]


def test_an_attention_that_cannot_be_cut_so_is_named() -> None:
    folded, _ = reparameterize(random_swin())
    with pytest.raises(InputError, match=r"^layers.1.blocks.0.attn as dual/5: A map of 4 rows"):
        on_maps(folded, lambda attention: Lowering("dual", 4 + attention.config.dim // 16))


def test_layers_alone_are_not_on_maps() -> None:
    folded, _ = reparameterize(random_swin())
    for layer, kind in ((folded.layers[0].blocks[0], Block), (folded.patch_embed, PatchEmbed)):
        assert type(on_maps(layer, Lowering("per-offset"))) is kind


@pytest.mark.parametrize("mean", [0.0, 30.0, -1e3])
def test_a_mean_that_is_far_larger_than_the_deviation(mean: float) -> None:
    """In float32: what is lost is what the input itself is rounded to, not its square."""
    norm = nn.LayerNorm(16).eval()
    maps = mean + torch.randn(1, 16, 50, 50, generator=torch.Generator().manual_seed(0))
    exact = functional.layer_norm(maps.double().permute(0, 2, 3, 1), (16,), eps=norm.eps)
    answer = Normalisation(norm)(maps)
    off = (answer - exact.permute(0, 3, 1, 2)).abs().max()
    assert off < 8 * torch.finfo(torch.float32).eps * (abs(mean) + 4)


@pytest.mark.parametrize("mean", [0.0, 30.0, -1e3])
def test_means_of_the_positions_of_a_cell(mean: float) -> None:
    """Those differ, and patch merging sees by how much."""
    generator = torch.Generator().manual_seed(0)
    trained = randomise(PatchMerging(8, (6, 10)))
    assert isinstance(trained, PatchMerging)
    maps = mean + torch.randn(2, 8, 6, 10, generator=generator)
    maps += 3 * torch.randn(2, 1, 6, 10, generator=generator)
    exact = copy.deepcopy(trained).double()(maps.double().flatten(2).transpose(1, 2))
    with torch.no_grad():
        answer = MapPatchMerging(trained)(maps).flatten(2).transpose(1, 2)
    off = (answer - exact).abs().max() / exact.abs().max()
    assert off < 8 * torch.finfo(torch.float32).eps * (abs(mean) + 4)


def running_means(attentions: int) -> int:
    """Additions of that many attentions of 3x3 neighbours."""
    return 8 * attentions


def written(model: nn.Module, map_stages: bool, path: Path) -> onnx.ModelProto:
    exporter = exporter_for("onnx")
    lowered = lower(
        reparameterize(model)[0],
        Lowering("running-mean"),
        Traits(bare_products=True, map_stages=map_stages),
    )
    exporter.write(image_request(lowered, (3, 32, 32), False, {}), path)
    return onnx.load(path)


@pytest.mark.slow
def test_what_is_between_the_layers_of_a_file(tmp_path: Path) -> None:
    """One transpose in all, and no product of tokens before it: the ways between cancel out."""
    model = random_swin(depths=(2, 2), num_heads=(1, 2))
    nodes = written(model, True, tmp_path / "maps.onnx").graph.node
    found = Counter(node.op_type for node in nodes)
    assert found["Transpose"] == 1
    # The last normalisation; running sums of four attentions; the classifier.
    assert found["LayerNormalization"] == 1
    assert found["MatMul"] + found["Gemm"] == 4 + 1
    # The patches, two normalisations of each block, one of the merging.
    assert found["Sqrt"] == found["Reciprocal"] == 1 + 2 * 4 + 1
    # Ways around, means taken off, what is added in patch embedding (one) and merging (three).
    assert found["Add"] == 2 * 4 + (2 * 4 + 1) + (1 + 3) + running_means(4)
    tokens = Counter(node.op_type for node in written(model, False, tmp_path / "a.onnx").graph.node)
    assert tokens["Transpose"] > 1
    assert tokens["Sqrt"] == 0


def test_a_backbone_has_no_transpose_at_all(tmp_path: Path) -> None:
    model = backbone_of(random_swin(depths=(2, 2), num_heads=(1, 2)))
    lowered = on_maps(reparameterize(model)[0], Lowering("running-mean"))
    path = tmp_path / "maps.onnx"
    request = image_request(lowered, (3, 32, 32), False, {}, outputs=model.output_names)
    exporter_for("onnx").write(request, path)
    assert not [node for node in onnx.load(path).graph.node if node.op_type == "Transpose"]


def test_a_file_answers_as_the_model(tmp_path: Path) -> None:
    model = random_swin(num_slide_stages=1)
    written(model, True, tmp_path / "maps.onnx")
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.double()(image.double()).numpy()
    (answer,) = answers(tmp_path / "maps.onnx", image.numpy()).values()
    assert np.abs(answer - expected).max() < 2e-5 * np.abs(expected).max()
