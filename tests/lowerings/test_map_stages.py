"""Slide stages on maps answer as the trained model, in float64, and leave maps at their end."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exporters.base import ExportRequest
from exporters.registry import exporter_for
from slide_deploy.lowerings import FORMS, Chooser, Lowering, lower
from slide_deploy.lowerings.map_stages import (
    MapBlock,
    MapPatchEmbed,
    MapPatchMerging,
    Quotient,
    Tokens,
)
from slide_deploy.models.backbone import backbone_of
from slide_deploy.models.slide_attention import FoldedSlideAttention
from slide_deploy.models.slide_swin import Block, PatchEmbed, PatchMerging
from slide_deploy.reparameterize import reparameterize
from slide_deploy.runtimes import open_file
from tests.support import random_swin

ON_MAPS = [form for form in FORMS if FORMS[form].on_maps]


def on_maps(model: nn.Module, lowering: Lowering | Chooser) -> nn.Module:
    return lower(model, lowering, bare_products=True, map_stages=True)


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
    object.__setattr__(backbone.config, "feature_norms", feature_norms)
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


def test_layers_alone_are_not_on_maps() -> None:
    folded, _ = reparameterize(random_swin())
    for layer, kind in ((folded.layers[0].blocks[0], Block), (folded.patch_embed, PatchEmbed)):
        assert type(on_maps(layer, Lowering("per-offset"))) is kind
    assert not isinstance(folded.layers[0].downsample, MapPatchMerging)
    assert isinstance(folded.layers[0].downsample, PatchMerging)


@pytest.mark.parametrize("mean", [0.0, 30.0, -1e4])
def test_positions_that_are_nearly_constant(mean: float) -> None:
    """In float32 the difference of both means may fall below zero; its root must not."""
    norm = nn.LayerNorm(16)
    quotient = Quotient(norm, torch.ones(16))
    maps = mean + 1e-6 * torch.randn(1, 16, 50, 50, generator=torch.Generator().manual_seed(0))
    answer = quotient(maps)
    assert answer.isfinite().all()
    assert answer.min() > 0
    assert answer.max() <= 1.0001 / norm.eps**0.5


def written(model: nn.Module, map_stages: bool, path: Path) -> onnx.ModelProto:
    exporter = exporter_for("onnx")
    lowered = lower(
        reparameterize(model)[0],
        Lowering("running-mean"),
        bare_products=True,
        map_stages=map_stages,
    )
    exporter.write(ExportRequest(lowered, (3, 32, 32), False, {}), path)
    return onnx.load(path)


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
    tokens = Counter(node.op_type for node in written(model, False, tmp_path / "a.onnx").graph.node)
    assert tokens["Transpose"] > 1
    assert tokens["Sqrt"] == 0


def test_a_backbone_has_no_transpose_at_all(tmp_path: Path) -> None:
    model = backbone_of(random_swin(depths=(2, 2), num_heads=(1, 2)))
    lowered = on_maps(reparameterize(model)[0], Lowering("running-mean"))
    path = tmp_path / "maps.onnx"
    request = ExportRequest(lowered, (3, 32, 32), False, {}, outputs=model.output_names)
    exporter_for("onnx").write(request, path)
    assert not [node for node in onnx.load(path).graph.node if node.op_type == "Transpose"]


def test_a_file_answers_as_the_model(tmp_path: Path) -> None:
    model = random_swin(num_slide_stages=1)
    written(model, True, tmp_path / "maps.onnx")
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.double()(image.double()).numpy()
    (answer,) = open_file(tmp_path / "maps.onnx").answers(image.numpy()).values()
    assert np.abs(answer - expected).max() < 2e-5 * np.abs(expected).max()
