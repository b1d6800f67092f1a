"""The padding mode is a setting of the network that every step preserves."""

import json

import pytest
import torch

from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts import Checkpoint, load_checkpoint
from slide_deploy.hosts.load import settings_of
from slide_deploy.hosts.registry import architecture_name
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.models.slide_attention import PADDING_MODES
from slide_deploy.models.slide_swin import SlideSwinConfig
from tests.support import random_swin, save_folded

SETTINGS = {
    "image_size": (32, 48),
    "depths": (1, 1),
    "num_heads": (2, 2),
    "num_slide_stages": 1,
    "window_size": 2,
}


def test_published_networks_pad_with_zeros() -> None:
    assert architecture_name(SlideSwinConfig()) == "slide_swin_tiny"
    assert architecture_name(SlideSwinConfig(padding_mode="reflect")) == "slide_swin"


@pytest.mark.parametrize("stages", [0, 2])
def test_an_unknown_mode_is_refused(stages: int) -> None:
    with pytest.raises(InputError, match=r"^padding_mode is 'mirror': give one of zeros, reflect"):
        SlideSwinConfig(padding_mode="mirror", num_slide_stages=stages)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", PADDING_MODES[1:])
def test_every_form_of_a_whole_model_uses_the_padding_mode(mode: str) -> None:
    settings = SETTINGS | {"padding_mode": mode}
    model = random_swin(**settings).double()
    assert model.layers[0].blocks[0].attn.dep_conv1.padding_mode == mode
    image = torch.randn(1, 3, 32, 48, dtype=torch.float64)
    expected = model(image)
    zeros = random_swin(**SETTINGS).double()
    assert (zeros(image) - expected).abs().max() > 1e-3
    folded = reparameterize(model)[0]
    for form in FORMS:
        lowered = lower(folded, Lowering(form, 2))
        assert (lowered(image) - expected).abs().max() < 1e-12, form


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_a_folded_file_preserves_the_padding_mode(mode: str, tmp_path) -> None:
    model = random_swin(**SETTINGS | {"padding_mode": mode})
    source = Checkpoint(model, model.config, "slide_swin", tmp_path / "trained.pth", "0", "", ())
    assert json.loads(json.dumps(settings_of(model.config)))["padding_mode"] == mode
    save_folded(reparameterize(model)[0], source, tmp_path / "folded.safetensors")
    again = load_checkpoint(tmp_path / "folded.safetensors")
    assert again.config.padding_mode == mode
    image = torch.randn(1, 3, 32, 48)
    assert (again.model(image) - model(image)).abs().max() < 1e-5
