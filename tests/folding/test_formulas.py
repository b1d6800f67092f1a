"""Folding is exact for every variant of the layer, and refuses what it cannot fold."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slide_deploy.errors import InputError
from slide_deploy.folding import formulas
from slide_deploy.folding.model import fold_attention, reparameterize
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    SlideAttention,
    SlideAttentionConfig,
)
from tests.support import random_attention, random_swin


@st.composite
def attentions(draw: st.DrawFn) -> SlideAttention:
    """Slide attentions of every variant, in float64."""
    heads = draw(st.sampled_from([1, 2, 3]))
    reduction = draw(st.sampled_from([1, 2]))
    config = SlideAttentionConfig(
        dim=heads * reduction * draw(st.sampled_from([1, 2, 4])),
        num_heads=heads,
        kernel_size=draw(st.sampled_from([3, 5, 7])),
        qkv_bias=draw(st.booleans()),
        dim_reduction=reduction,
        rpb=draw(st.booleans()),
        share_dwc_kernel=draw(st.booleans()),
        share_qkv=draw(st.booleans()),
    )
    drift = draw(st.sampled_from([0.0, 0.3]))
    attention = random_attention(config, seed=draw(st.integers(0, 99)), drift=drift)
    if draw(st.booleans()):  # a branch without bias, as some forks build it
        attention.dep_conv.bias = None
    return attention.double()


@settings(max_examples=60, deadline=None)
@given(attention=attentions(), height=st.integers(1, 9), width=st.integers(1, 9))
def test_folded_equals_branched(attention: SlideAttention, height: int, width: int) -> None:
    nchw = torch.randn(2, attention.config.dim, height, width, dtype=torch.float64)
    folded, layer = fold_attention(attention)
    with torch.no_grad():
        branched_out, folded_out = attention(nchw)[0], folded(nchw)[0]
    assert (branched_out - folded_out).abs().max() < 1e-12
    assert layer.error < 1e-12


@pytest.mark.parametrize("share_qkv", [False, True])
@pytest.mark.parametrize("share_dwc_kernel", [False, True])
def test_keys_and_values_have_one_depthwise_convolution_each(
    share_qkv: bool, share_dwc_kernel: bool
) -> None:
    config = SlideAttentionConfig(
        dim=12, num_heads=3, share_qkv=share_qkv, share_dwc_kernel=share_dwc_kernel
    )
    folded, certificate = reparameterize(torch.nn.Sequential(random_attention(config)).eval())
    convolutions = [m for m in folded.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 2
    for convolution in convolutions:
        assert (convolution.groups, convolution.in_channels) == (12, 12)
        assert convolution.out_channels == 12 * 9
    assert not any(isinstance(m, SlideAttention) for m in folded.modules())
    assert not any("dep_conv" in name for name in folded.state_dict())
    assert certificate.folded[0].name == "0"


def test_the_original_is_untouched() -> None:
    model = random_swin()
    before = copy.deepcopy(model.state_dict())
    folded, _ = reparameterize(model)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.fill_(7.0)
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_border_neighbours_take_part_with_zero_keys() -> None:
    # On a 1x1 map eight of nine neighbours are outside. Their keys and values are the biases alone.
    # They are not masked.
    config = SlideAttentionConfig(dim=2, num_heads=1)
    attention = random_attention(config).double()
    folded, _ = fold_attention(attention)
    x = torch.randn(1, 2, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        q, k, v = attention.qkv(x.flatten()).reshape(3, 2)
        inside = torch.zeros(2, 9, dtype=torch.float64)
        weight = (attention.dep_conv.weight + attention.dep_conv1.weight).reshape(2, 9, 9)
        bias = (attention.dep_conv.bias + attention.dep_conv1.bias).reshape(2, 9)
        keys = inside + weight[:, :, 4] * k[:, None] + bias
        values = inside + weight[:, :, 4] * v[:, None] + bias
        table = attention.relative_position_bias_table.reshape(9)
        logits = config.scale * (q[:, None] * (keys + table)).sum(0)
        expected = attention.proj((logits.softmax(0) * values).sum(1))
        for form in (attention, folded):
            assert (form(x)[0].flatten() - expected).abs().max() < 1e-12


def test_the_certificate_measures_the_distance_from_a_shift() -> None:
    config = SlideAttentionConfig(dim=8, num_heads=2, kernel_size=5)
    pure = fold_attention(random_attention(config))[1]
    assert pure.shift_distance == 0.0
    assert pure.shift_bias > 0
    assert pure.position_bias > 0
    assert pure.rounding < 1e-5
    drifted = random_attention(config)
    with torch.no_grad():
        drifted.dep_conv.weight[7, 0, 1, 2] += 0.25
    assert fold_attention(drifted)[1].shift_distance == pytest.approx(0.25)


def test_nothing_to_fold_and_already_folded_are_reported() -> None:
    plain, certificate = reparameterize(random_swin(num_slide_stages=0))
    assert certificate.status == "nothing to fold"
    folded, _ = reparameterize(random_swin())
    again, certificate = reparameterize(folded)
    assert certificate.status == "already folded"
    assert certificate.already_folded == ("layers.0.blocks.0.attn", "layers.1.blocks.0.attn")
    assert isinstance(again.get_submodule("layers.0.blocks.0.attn"), FoldedSlideAttention)
    assert not any(isinstance(m, FoldedSlideAttention) for m in plain.modules())


def test_training_mode_is_refused_with_the_name_of_the_layer() -> None:
    model = random_swin()
    with pytest.raises(InputError, match=r"The model is in training mode: call .eval\(\)"):
        reparameterize(copy.deepcopy(model).train())
    model.layers[1].blocks[0].attn.train()
    with pytest.raises(InputError, match=r"layers.1.blocks.0.attn is in training mode"):
        reparameterize(model)


@pytest.mark.parametrize(
    ("field", "convolution"),
    [
        ("kernel_size", torch.nn.Conv2d(4, 36, 5, padding=2, groups=4)),
        ("padding", torch.nn.Conv2d(4, 36, 3, padding=0, groups=4)),
        ("dilation", torch.nn.Conv2d(4, 36, 3, padding=1, dilation=2, groups=4)),
        ("stride", torch.nn.Conv2d(4, 36, 3, padding=1, stride=2, groups=4)),
        ("padding_mode", torch.nn.Conv2d(4, 36, 3, padding=1, groups=4, padding_mode="reflect")),
        ("groups", torch.nn.Conv2d(4, 36, 3, padding=1, groups=2)),
    ],
)
def test_branches_of_another_geometry_are_refused(field: str, convolution) -> None:
    attention = random_attention(SlideAttentionConfig(dim=8, num_heads=2))
    attention.dep_conv1 = convolution.eval()
    with pytest.raises(InputError, match=rf"^0: dep_conv has {field}"):
        reparameterize(torch.nn.Sequential(attention).eval())


def test_weights_that_overflow_are_refused() -> None:
    attention = random_attention(SlideAttentionConfig(dim=8, num_heads=2))
    with torch.no_grad():
        attention.dep_conv.bias.fill_(3e38)
        attention.dep_conv1.bias.fill_(3e38)
    with pytest.raises(InputError, match=r"^deep\.layer: .* its weights overflow"):
        fold_attention(attention, "deep.layer")


def test_a_layer_used_twice_remains_one_layer() -> None:
    attention = random_attention(SlideAttentionConfig(dim=8, num_heads=2))
    model = torch.nn.ModuleDict({"first": attention, "second": attention}).eval()
    folded, certificate = reparameterize(model)
    assert folded["first"] is folded["second"]
    assert len(certificate.folded) == 1


def test_merging_kernels_of_different_shape_is_refused() -> None:
    three, five = torch.zeros(9, 1, 3, 3), torch.zeros(25, 1, 5, 5)
    with pytest.raises(InputError, match="one geometry"):
        formulas.merge_branches((three, None), (five, None))
