"""The scale of the logits is a setting of both attentions that every step preserves."""

import copy
import json

import pytest
import torch

from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts import Checkpoint, load_checkpoint
from slide_deploy.hosts.load import settings_of
from slide_deploy.hosts.registry import architecture_name
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.models.slide_attention import SlideAttentionConfig
from slide_deploy.models.slide_swin import SlideSwinConfig
from slide_deploy.models.window_attention import WindowAttention
from tests.support import random_attention, random_swin, randomise, save_folded

SCALE = -0.9


def scaled_queries(attention: torch.nn.Module, factor: float, rows: torch.Tensor):
    """Return a copy whose query rows of the projection are multiplied."""
    other = copy.deepcopy(attention)
    other.qkv.weight[rows] *= factor
    other.qkv.bias[rows] *= factor
    return other


@pytest.mark.parametrize("dim_reduction", [1, 2])
def test_slide_attention_multiplies_its_logits(dim_reduction: int) -> None:
    settings = {"dim": 16, "num_heads": 2, "dim_reduction": dim_reduction}
    plain = random_attention(SlideAttentionConfig(**settings)).double()
    scaled = random_attention(SlideAttentionConfig(**settings, qk_scale=SCALE)).double()
    # The default depends on the width before the reduction, 16 / 2 features.
    assert plain.config.scale == 8**-0.5
    # Rows are (head, q|k|v, d).
    rows = torch.arange(plain.qkv.out_features).reshape(2, 3, -1)[:, 0].flatten()
    expected = scaled_queries(plain, SCALE / 8**-0.5, rows)
    maps = torch.randn(2, 16, 5, 4, dtype=torch.float64)
    assert (scaled(maps)[0] - expected(maps)[0]).abs().max() < 1e-14
    assert (scaled(maps)[0] - plain(maps)[0]).abs().max() > 1e-2


def test_window_attention_multiplies_its_logits() -> None:
    plain = randomise(WindowAttention(12, 3, 2)).double()
    scaled = randomise(WindowAttention(12, 3, 2, qk_scale=SCALE)).double()
    expected = scaled_queries(plain, SCALE / 4**-0.5, torch.arange(12))
    windows = torch.randn(5, 4, 12, dtype=torch.float64)
    assert (scaled(windows) - expected(windows)).abs().max() < 1e-14
    assert (scaled(windows) - plain(windows)).abs().max() > 1e-2


@pytest.mark.parametrize("none", [None, 0, 0.0])
def test_zero_and_none_mean_the_default(none: float | None) -> None:
    assert SlideAttentionConfig(16, 2, qk_scale=none).scale == 8**-0.5
    assert WindowAttention(12, 3, 2, qk_scale=none).scale == 0.5
    assert architecture_name(SlideSwinConfig(qk_scale=none)) == "slide_swin_tiny"
    assert architecture_name(SlideSwinConfig(qk_scale=0.3)) == "slide_swin"


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "0.2", True, [0.2]])
def test_a_scale_that_is_not_a_finite_number_is_refused(wrong: object) -> None:
    for config in (lambda: SlideAttentionConfig(16, 2, qk_scale=wrong), SlideSwinConfig):
        with pytest.raises(InputError, match=r"^qk_scale is .*: give a"):
            config() if config is not SlideSwinConfig else config(qk_scale=wrong)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("qk_scale", [0.9, SCALE])
def test_every_form_of_a_whole_model_uses_the_scale(form: str, qk_scale: float) -> None:
    """Slide attention, whole-map windows, shifted windows and matmuls per head."""
    settings = {"depths": (1, 2), "num_heads": (2, 2), "num_slide_stages": 1, "qk_scale": qk_scale}
    for size, window in (((32, 32), 2), ((96, 96), 12)):
        model = random_swin(image_size=size, window_size=window, **settings).double()
        image = torch.randn(1, 3, *size, dtype=torch.float64)
        folded, certificate = reparameterize(model)
        assert [layer.scale for layer in certificate.folded] == [qk_scale]
        lowered = lower(folded, Lowering(form, 2))
        plain = random_swin(image_size=size, window_size=window, **settings | {"qk_scale": None})
        with torch.no_grad():
            output = model(image)
            assert (folded(image) - output).abs().max() < 1e-12
            assert (lowered(image) - output).abs().max() < 1e-12
            assert (plain.double()(image) - output).abs().max() > 1e-2


@pytest.mark.parametrize("qk_scale", [0.3, 1])
def test_a_folded_file_preserves_the_scale(qk_scale: float, tmp_path) -> None:
    model = random_swin(qk_scale=qk_scale)
    source = Checkpoint(model, model.config, "slide_swin", tmp_path / "trained.pth", "0", "", ())
    assert json.loads(json.dumps(settings_of(model.config)))["qk_scale"] == qk_scale
    folded = reparameterize(model)[0]
    save_folded(folded, source, tmp_path / "folded.safetensors")
    again = load_checkpoint(tmp_path / "folded.safetensors")
    assert again.config.qk_scale == qk_scale
    image = torch.randn(1, 3, 32, 32)
    assert (again.model(image) - folded(image)).abs().max() < 1e-6
