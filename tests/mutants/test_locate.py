"""A layer that was damaged is the first that is not found, in every format."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.mutants.bases import base
from tests.mutants.mutant import NETWORKS as FORMATS
from tests.mutants.weights import patched
from tests.support import locate

# A parameter of the lowered model, and the layer of the trained model that it is part of.
LAYERS = {
    "patch_embed.proj.weight": "patch_embed.proj",
    "patch_embed.norm.bias": "patch_embed.norm",
    "layers.0.blocks.0.attn.form.key_conv.bias": "layers.0.blocks.0.attn",
    "layers.0.blocks.0.mlp.fc2.bias": "layers.0.blocks.0.mlp.fc2",
    "layers.0.downsample.reduction.weight": "layers.0.downsample.reduction",
    "layers.1.blocks.0.attn.form.value_conv.weight": "layers.1.blocks.0.attn",
    "layers.1.blocks.0.mlp.fc1.weight": "layers.1.blocks.0.mlp.fc1",
    "layers.1.downsample.reduction.weight": "layers.1.downsample.reduction",
    "layers.2.blocks.1.attn.relative_position_bias_table": "layers.2.blocks.1.attn",
    "layers.3.blocks.0.attn.proj.weight": "layers.3.blocks.0.attn",
    "norm.weight": "head",  # which holds it
    "head.bias": "head",
}


def places() -> Iterator[object]:
    """Every layer in every format, in one of them in long runs, every other one in quick runs."""
    for number, parameter in enumerate(LAYERS):
        for index, format in enumerate(FORMATS):
            is_turn = index == number % len(FORMATS)
            marks = [] if number % 2 == 0 else [pytest.mark.slow]
            marks = marks if is_turn else [pytest.mark.full]
            yield pytest.param(parameter, format, id=f"{parameter}-{format}", marks=marks)


@pytest.mark.parametrize(("parameter", "format"), places())
def test_the_damaged_layer_is_named(parameter: str, format: str, tmp_path: Path) -> None:
    valid = base()
    damaged = copy.deepcopy(valid.lowered)
    with torch.no_grad():
        tensor = damaged.state_dict()[parameter]
        # The output channels of a 1x1 convolution, which has no neighbours to exchange.
        tensor.copy_(tensor.roll(1, 0 if tensor.ndim == 4 and tensor.shape[-1] == 1 else -1))
    parting = locate(patched(valid, format, tmp_path, damaged), valid.checkpoint)
    assert parting.first_wrong == LAYERS[parameter]
    assert parting.found < parting.layers


@pytest.mark.parametrize("format", FORMATS)
def test_a_valid_file_has_every_layer(format: str) -> None:
    parting = locate(base().path(format), base().checkpoint)
    assert parting.first_wrong is None
    assert parting.found == parting.layers
