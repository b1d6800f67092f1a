"""Every lowering has the outputs of the folded model in float64, for every variant of the layer."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.lowerings.running_mean import RunningMean
from slide_deploy.lowerings.strips import strips as cut
from slide_deploy.models.slide_attention import SlideAttentionConfig
from tests.support import random_attention, random_swin


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None)
@given(
    kernel_size=st.sampled_from([3, 5, 7]),
    heads=st.sampled_from([1, 2, 4]),
    reduction=st.sampled_from([1, 2]),
    flags=st.tuples(*[st.booleans()] * 4),
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    strips=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_every_form_equals_the_attention(
    form, kernel_size, heads, reduction, flags, size, strips, seed
) -> None:
    qkv_bias, rpb, share_dwc_kernel, share_qkv = flags
    config = SlideAttentionConfig(
        8, heads, kernel_size, qkv_bias, reduction, rpb, share_dwc_kernel, share_qkv
    )
    model = torch.nn.Sequential(random_attention(config, seed, drift=0.1)).double().eval()
    maps = torch.randn(2, 8, *size, dtype=torch.float64)
    lowered = lower(reparameterize(model)[0], Lowering(form, min(strips, size[0])))
    with torch.no_grad():
        assert (lowered(maps)[0] - model(maps)[0]).abs().max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"image_size": (64, 32), "ape": True},
        {"window_size": 2, "image_size": (64, 64), "depths": (1, 1, 2)},
        {"num_slide_stages": 0, "window_size": 4, "depths": (2, 2, 2)},
        {"num_slide_stages": 1, "window_size": 2, "depths": (1, 2, 2), "qkv_bias": False},
        {"dim_reduction": 2, "share_qkv": True, "kernel_size": 5},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_every_form_equals_the_whole_model(form: str, settings: dict) -> None:
    model = random_swin(**settings).double()
    image = torch.randn(3, 3, *model.config.image_size, dtype=torch.float64)
    lowered = lower(reparameterize(model)[0], Lowering(form, 2))
    with torch.no_grad():
        assert (lowered(image) - model(image)).abs().max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [30.0, 1e4])
def test_attention_weights_that_underflow_stay_accurate(form: str, scale: float) -> None:
    """In float32: of most offsets nothing is left, of the first ones too.

    Relative logits are as large as the logit that is taken off them, however small the others are,
    and so is what they and the shares are off by.
    """
    model = torch.nn.Sequential(random_attention(SlideAttentionConfig(8, 2))).eval()
    with torch.no_grad():
        model[0].relative_position_bias_table.mul_(scale)
    folded, _ = reparameterize(model)
    maps = torch.randn(1, 8, 9, 7, generator=torch.Generator().manual_seed(0))
    exact = lower(copy.deepcopy(folded).double(), Lowering("running-mean"))[0]
    rows, (whole,) = maps.double(), cut(9, 1, 1)
    logits = exact.form.logits(exact.form.query(rows), exact.form.key(rows), whole)
    spread = (logits.amax(dim=1) - logits.amin(dim=1)).max()
    assert spread > 80
    expected = copy.deepcopy(model).double()(rows)[0]
    off = (lower(folded, Lowering(form))(maps)[0] - expected).abs().max()
    relative = form in ("running-mean", "flat")
    bound = torch.finfo(torch.float32).eps * float(spread) if relative else 2e-5
    assert off < bound * expected.abs().max()


def test_the_steps_of_running_means_stay_between_0_and_1() -> None:
    model = torch.nn.Sequential(random_attention(SlideAttentionConfig(8, 2))).eval()
    form = lower(reparameterize(model)[0], Lowering("running-mean"))[0].form
    assert isinstance(form, RunningMean)
    logits = 1000 * torch.randn(1, 9, 500, generator=torch.Generator().manual_seed(0))
    steps = form.steps(logits)
    assert steps.min() >= 0 and steps.max() <= 1
    # Against the shares: t[p] is what came before, of all so far.
    shares = logits.double().softmax(dim=1).cumsum(dim=1)
    seen = shares[:, 1:] > torch.finfo(torch.float32).eps  # the others are lost in rounding
    exact = shares[:, :-1] / shares[:, 1:]
    assert (steps - exact)[seen].abs().max() < 1e-6


def test_running_means_in_float16_never_divide_zero_by_zero() -> None:
    model = torch.nn.Sequential(random_attention(SlideAttentionConfig(8, 2))).eval()
    form = lower(reparameterize(model)[0], Lowering("running-mean"))[0].form.half()
    # The first shares vanish in float16, which holds no e^-30.
    logits = torch.full((1, 9, 4), -30.0, dtype=torch.float16)
    logits[:, -1] = 0
    assert torch.equal(form.steps(logits), torch.zeros(1, 8, 4, dtype=torch.float16))


def test_the_folded_model_is_not_changed() -> None:
    folded, _ = reparameterize(random_swin())
    before = {name: tensor.clone() for name, tensor in folded.state_dict().items()}
    with torch.no_grad():
        for parameter in lower(folded).parameters():
            parameter.fill_(3.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in folded.state_dict().items())


def test_unknown_forms_and_impossible_attentions_are_refused() -> None:
    with pytest.raises(InputError, match="not a lowering: choose one of depthwise"):
        Lowering("fancy")
    with pytest.raises(InputError, match=r"layers.0.blocks.0.attn is still branched"):
        lower(random_swin())
    alone = torch.nn.Sequential(random_attention(SlideAttentionConfig(8, 2, kernel_size=1))).eval()
    for form in ("running-mean", "flat"):
        with pytest.raises(InputError, match=f"0 as {form}: A neighbourhood of one position has"):
            lower(reparameterize(alone)[0], Lowering(form))
