"""Constants that replace the bias of the keys, and layers for which there are none."""

import copy

import pytest
import torch

from slide_deploy.folding.model import reparameterize
from slide_deploy.lowerings import Lowering, lower
from slide_deploy.lowerings.flat import Flat
from slide_deploy.lowerings.logits import absorbed_bias
from slide_deploy.models.slide_attention import SlideAttentionConfig
from tests.support import random_attention

HEADS, FEATURES, TAPS = 2, 4, 9
ORDINARY = torch.ones(HEADS, FEATURES)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("offsets", [TAPS, TAPS - 1])
def test_constants_have_the_effect_of_the_bias(offsets: int) -> None:
    """The kernels are a shift plus a learned part, in float64; the keys are arbitrary."""
    shift = torch.eye(TAPS, dtype=torch.float64)[-offsets:]
    kernel = shift + 0.1 * drawn(HEADS, FEATURES, offsets, TAPS)
    bias = drawn(HEADS, FEATURES, offsets, seed=1)
    constants = absorbed_bias(kernel, bias, ORDINARY)
    assert constants is not None
    assert constants.shape == (HEADS, FEATURES, TAPS)
    keys = drawn(HEADS, FEATURES, TAPS, 1, seed=2)
    with_bias = kernel @ keys + bias[..., None]
    with_constants = kernel @ (keys + constants[..., None])
    torch.testing.assert_close(with_constants, with_bias, rtol=0, atol=1e-13)


def test_a_zero_bias_gives_zero_constants() -> None:
    kernel = drawn(HEADS, FEATURES, TAPS - 1, TAPS)
    constants = absorbed_bias(kernel, torch.zeros(HEADS, FEATURES, TAPS - 1), ORDINARY)
    assert constants is not None
    assert not constants.any()


@pytest.mark.parametrize("apart", [0.0, 1e-3])
def test_similar_offsets_have_no_constants(apart: float) -> None:
    """Similar offsets of one feature have no constants, or only large ones."""
    kernel = drawn(HEADS, FEATURES, TAPS - 1, TAPS)
    kernel[1, 2, 3] = kernel[1, 2, 5] + apart * drawn(TAPS, seed=3)
    assert absorbed_bias(kernel, drawn(HEADS, FEATURES, TAPS - 1, seed=1), ORDINARY) is None


def test_large_constants_are_refused() -> None:
    """The limit is 16 times the size of each feature."""
    kernel = torch.eye(TAPS).expand(HEADS, FEATURES, TAPS, TAPS)
    bias = drawn(HEADS, FEATURES, TAPS)
    largest = bias.abs().amax(dim=2)
    constants = absorbed_bias(kernel, bias, largest / 15.9)
    assert constants is not None
    torch.testing.assert_close(constants.double(), bias)
    size = largest / 15.9
    size[1, 2] = largest[1, 2] / 16.1
    assert absorbed_bias(kernel, bias, size) is None


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_have_no_constants(wrong: float) -> None:
    kernel, bias = drawn(HEADS, FEATURES, TAPS - 1, TAPS), drawn(HEADS, FEATURES, TAPS - 1)
    for broken in (kernel, bias):
        sound = broken.flatten()[5].clone()
        broken.view(-1)[5] = wrong
        assert absorbed_bias(kernel, bias, ORDINARY) is None
        broken.view(-1)[5] = sound


def flat_of(model: torch.nn.Module) -> tuple[torch.nn.Module, Flat]:
    lowered = lower(reparameterize(model)[0], Lowering("flat"))
    form = lowered[0].form
    assert isinstance(form, Flat)
    return lowered, form


@pytest.mark.parametrize("alike", [False, True])
def test_flat_is_exact_with_and_without_constants(alike: bool) -> None:
    """In float64, on feature maps with every border and as few columns as the neighbourhood has."""
    model = torch.nn.Sequential(random_attention(SlideAttentionConfig(8, 2))).double().eval()
    with torch.no_grad():
        model[0].dep_conv1.weight.mul_(0.1)
        if alike:  # offsets 3 and 5 of the first feature, in both branches
            for conv in (model[0].dep_conv, model[0].dep_conv1):
                conv.weight[3] = conv.weight[5]
    lowered, form = flat_of(model)
    assert (form.key_constants is None, form.key_bias is None) == (alike, not alike)
    for size in ((5, 7), (3, 3), (4, 1)):
        maps = drawn(2, 8, *size)
        with torch.no_grad():
            assert (lowered(maps)[0] - model(maps)[0]).abs().max() < 1e-13


def test_constants_cost_little_precision() -> None:
    """In float32, with constants up to the largest allowed size."""
    largest, most = 0.0, 0.0
    for seed in range(40):
        model = torch.nn.Sequential(random_attention(SlideAttentionConfig(8, 2), seed)).eval()
        with (
            torch.no_grad()
        ):  # large biases give large constants, which are too large in some layers
            model[0].relative_position_bias_table.mul_(5)
        lowered, form = flat_of(model)
        if form.key_constants is None:
            continue
        size = torch.linalg.vector_norm(form.key.weight, dim=1)
        constants = torch.stack([each.flatten() for each in form.key_constants])
        largest = max(largest, float((constants.abs() / size).max()))
        maps = drawn(1, 8, 9, 7, seed=seed)
        with torch.no_grad():
            exact = copy.deepcopy(model).double()(maps)[0]
            off = (lowered(maps.float())[0] - exact).abs().max() / exact.abs().max()
        most = max(most, float(off))
    assert 10 < largest <= 16
    assert most < 2e-6
