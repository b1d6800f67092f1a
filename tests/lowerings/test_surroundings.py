"""Reflect, replicate and circular padding are exact in every form, also in strips."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.lowerings.surroundings import surrounded
from slide_deploy.models.slide_attention import SlideAttentionConfig
from slide_deploy.tuning.choice import chooser
from tests.support import random_attention

MODES = ("reflect", "replicate", "circular")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_padding_equals_that_of_torch(mode: str, radius: int) -> None:
    maps = torch.randn(2, 3, radius + 1, radius + 4)
    expected = torch.nn.functional.pad(maps, [radius] * 4, mode=mode)
    assert torch.equal(surrounded(maps, (2, 3), radius, mode), expected)
    tokens = surrounded(maps.permute(0, 2, 3, 1), (1, 2), radius, mode)
    assert torch.equal(tokens, expected.permute(0, 2, 3, 1))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(
    kernel_size=st.sampled_from([3, 5]),
    heads=st.sampled_from([1, 2, 4]),
    mode=st.sampled_from(MODES),
    flags=st.tuples(*[st.booleans()] * 4),
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    strips=st.integers(1, 8),
    tokens=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_form_equals_the_padded_attention(
    form, kernel_size, heads, mode, flags, size, strips, tokens, seed
) -> None:
    qkv_bias, rpb, share_dwc_kernel, share_qkv = flags
    config = SlideAttentionConfig(
        8,
        heads,
        kernel_size,
        qkv_bias,
        1,
        rpb,
        share_dwc_kernel,
        share_qkv,
        padding_mode=mode,
    )
    attention = random_attention(config, seed, drift=0.1).double()
    model = torch.nn.Sequential(attention).eval()
    maps = torch.randn(2, 8, *size, dtype=torch.float64)
    expected = attention(maps)[0]
    if tokens:
        attention.layout, attention.resolution = "tokens", size
        maps = maps.flatten(2).transpose(1, 2)
        expected = expected.flatten(2).transpose(1, 2)
    folded, certificate = reparameterize(model)
    assert certificate.error < 1e-12
    lowered = lower(folded, Lowering(form, min(strips, size[0])))
    with torch.no_grad():
        output = lowered(maps) if tokens else lowered(maps)[0]
        assert (output - expected).abs().max() < 1e-12


@pytest.mark.parametrize("mode", MODES)
def test_padding_modes_differ_from_zero_padding(mode: str) -> None:
    maps = torch.randn(1, 8, 5, 4)
    outputs = [
        random_attention(SlideAttentionConfig(8, 2, padding_mode=each))(maps)[0]
        for each in (mode, "zeros")
    ]
    inside = (outputs[0] - outputs[1]).abs()[:, :, 1:-1, 1:-1]
    assert inside.max() == 0
    assert (outputs[0] - outputs[1]).abs().max() > 0.01


@pytest.mark.parametrize("mode", MODES)
def test_a_neighbourhood_of_one_position_needs_no_padding(mode: str) -> None:
    config = SlideAttentionConfig(8, 2, kernel_size=1, padding_mode=mode)
    model = torch.nn.Sequential(random_attention(config)).eval()
    model = model.double()
    maps = torch.randn(1, 8, 1, 2, dtype=torch.float64)
    lowered = lower(reparameterize(model)[0])
    assert (lowered(maps)[0] - model(maps)[0]).abs().max() < 1e-12


def test_a_feature_map_that_is_too_small_is_refused() -> None:
    config = SlideAttentionConfig(8, 2, kernel_size=5, padding_mode="reflect")
    model = torch.nn.Sequential(random_attention(config)).eval()
    folded, _ = reparameterize(model)
    with pytest.raises(
        InputError, match=r"^A feature map of 2x7 cannot be padded by 2 .* gives 3x3"
    ):
        lower(folded, Lowering("flat"))(torch.zeros(1, 8, 2, 7))
    folded[0].layout, folded[0].resolution = "tokens", (2, 7)
    with pytest.raises(InputError, match="0 as flat: A feature map of 2x7 cannot be padded"):
        lower(folded, Lowering("flat"))


@pytest.mark.parametrize("target", ["onnxruntime:cpu", "openvino:cpu", "coreml:all"])
def test_auto_chooses_a_form_that_can_pad(target: str) -> None:
    config = SlideAttentionConfig(96, 3, padding_mode="circular")
    model = torch.nn.Sequential(random_attention(config)).eval()
    lowered = lower(reparameterize(model)[0], chooser(target, map_size=(6, 5)))
    maps = torch.randn(1, 96, 6, 5)
    assert (lowered(maps)[0] - model(maps)[0]).abs().max() < 1e-5


def test_an_unknown_padding_mode_is_refused() -> None:
    with pytest.raises(InputError, match="padding_mode is 'wrap': give one of zeros, reflect, rep"):
        SlideAttentionConfig(8, 2, padding_mode="wrap")  # type: ignore[arg-type]
