"""What is no slide attention is refused in one sentence that names the layer and what differs."""

import pytest
import torch
from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.reparameterize import reparameterize
from tests.foreign import classes
from tests.foreign.classes import Theirs, drawn
from tests.support import random_attention


def refusal(layer: nn.Module) -> str:
    with pytest.raises(InputError) as caught:
        reparameterize(nn.ModuleDict({"deep": nn.Sequential(layer)}).eval())
    text = str(caught.value)
    assert text.startswith("deep.0 (") and type(layer).__name__ in text
    assert text.endswith(".") and "\n" not in text
    # Weights of what computes something else do not belong into another class.
    assert "load" not in text
    return text


@pytest.mark.parametrize(
    "kind",
    [
        classes.Temperature,
        classes.FixedTemperature,
        classes.NormalisedQueries,
        classes.BiasOnLogits,
        classes.LimitedLogits,
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_computes_something_else(kind: type[Theirs], seed: int) -> None:
    text = refusal(drawn(kind(), seed))
    assert "computes something else" in text and "which is more than 1e-11" in text
    assert "borders" not in text
    assert ("(it also has q_norm.weight, q_norm.bias)" in text) == (
        kind is classes.NormalisedQueries
    )


def test_masked_borders_are_called_so() -> None:
    assert "apart, at the borders of a map only, which" in refusal(drawn(classes.MaskedBorders()))


def test_branches_of_different_padding() -> None:
    layer = Theirs()
    layer.dep_conv1.padding_mode = "circular"
    text = refusal(drawn(layer))
    assert "dep_conv has padding_mode zeros and dep_conv1 has circular" in text
    layer.dep_conv1 = nn.Conv2d(4, 36, 3, groups=4)
    assert "dep_conv has padding (1, 1) and dep_conv1 has (0, 0)" in refusal(drawn(layer))


def test_neighbourhoods_with_gaps() -> None:
    layer = Theirs()
    for name in ("dep_conv", "dep_conv1"):
        setattr(layer, name, nn.Conv2d(4, 36, 3, padding=2, dilation=2, groups=4))
    assert "dep_conv has dilation (2, 2)" in refusal(drawn(layer))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (classes.NeedsMore, "it takes arguments that no slide attention takes"),
        (classes.AlwaysFails, "only with our kernel"),
        (classes.AnswersMore, "more than a map"),
    ],
)
def test_what_cannot_be_called(kind: type[Theirs], why: str) -> None:
    text = refusal(drawn(kind()))
    assert "could not be called to prove its fold" in text and why in text


def test_more_branches_and_no_projections() -> None:
    text = refusal(drawn(classes.FourBranches()))
    assert "has 4 branches of slide attention (dep_conv, dep_conv1, dep_conv2, dep_conv3)" in text
    assert "no projections that fit them" in refusal(classes.WithoutProjections())


def test_training_mode_and_weights_that_are_no_numbers() -> None:
    model = nn.Sequential(drawn(Theirs())).eval()
    model[0].train()
    with pytest.raises(InputError, match=r"^0 is in training mode: call .eval\(\)"):
        reparameterize(model)
    layer = drawn(Theirs())
    layer.dep_conv1.weight[0, 0, 0, 0] = torch.nan
    assert "answers NaN or infinity" in refusal(layer)
    layer = drawn(Theirs())
    layer.dep_conv.bias.fill_(3e38)
    layer.dep_conv1.bias.fill_(3e38)
    with pytest.raises(InputError, match=r"^0: .* its weights overflow"):
        reparameterize(nn.Sequential(layer).eval())


def test_a_mask_given_to_the_folded_layer() -> None:
    folded, _ = reparameterize(nn.Sequential(drawn(classes.Tuple())).eval())
    with pytest.raises(InputError, match="was given reference, which its folded form has no use"):
        folded[0](torch.randn(1, 12, 5, 7), torch.ones(1))


def test_a_hook_on_ours_is_part_of_what_it_answers() -> None:
    from slide_deploy.models.slide_attention import SlideAttentionConfig

    attention = random_attention(SlideAttentionConfig(8, 2))
    attention.register_forward_hook(lambda _, args, out: (out[0] * 1.5, None, None))
    with pytest.raises(InputError, match=r"^0: folded and branched attention differ by"):
        reparameterize(nn.Sequential(attention).eval())
