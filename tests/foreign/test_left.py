"""A layer that is not proved to be a slide attention is left unchanged, with a reason."""

import copy
import re

import pytest
import torch
from torch import nn

from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.foreign import LeftLayer
from tests.foreign import classes
from tests.foreign import written_otherwise as written
from tests.foreign.classes import ForeignAttention, drawn
from tests.support import random_attention


def left(layer: nn.Module) -> str:
    """Return why a layer is left unchanged, next to another one that is folded."""
    good = drawn(ForeignAttention())
    model = nn.ModuleDict({"deep": nn.Sequential(layer), "good": good}).eval()
    before = copy.deepcopy(model.state_dict())
    folded, certificate = reparameterize(model)
    (kept,) = certificate.left
    assert kept.name == "deep.0" and kept.kind == type(layer).__name__
    assert [line.name for line in certificate.folded] == ["good"]
    assert certificate.status == "1 folded, 1 left"
    assert type(folded["deep"][0]) is type(layer)
    after = folded["deep"][0].state_dict()
    assert all(torch.equal(after[key], value) for key, value in layer.state_dict().items())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    # The reason is a clause. The caller prints the name before it and the full stop after it.
    assert "\n" not in kept.reason and not kept.reason.endswith(".")
    assert kept.reason[0].islower()
    return kept.reason


@pytest.mark.parametrize(
    "kind", [classes.NormalisedQueries, classes.BiasOnLogits, classes.LimitedLogits]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_layers_that_compute_something_else_are_left(
    kind: type[ForeignAttention], seed: int
) -> None:
    text = left(drawn(kind(), seed))
    assert "computes something else" in text and "which is more than 1e-11" in text
    assert "borders" not in text
    assert ("(it also has q_norm.weight, q_norm.bias)" in text) == (
        kind is classes.NormalisedQueries
    )


def test_the_reason_names_borders_where_only_they_differ() -> None:
    assert re.search(
        r"differ by up to \S+ \(at the borders only\), which", left(drawn(classes.MaskedBorders()))
    )


def test_a_traced_layer_with_clipped_outputs_is_left() -> None:
    class Clipped(written.Functional):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).clamp(max=0.5)

    text = left(drawn(Clipped()))
    assert text.startswith("it cannot be read as a slide attention: its last projection")


def test_branches_of_different_padding_are_left() -> None:
    layer = ForeignAttention()
    layer.dep_conv1.padding_mode = "circular"
    text = left(drawn(layer))
    assert "dep_conv has padding_mode zeros and dep_conv1 has circular" in text
    layer.dep_conv1 = nn.Conv2d(4, 36, 3, groups=4)
    assert "dep_conv has padding (1, 1) and dep_conv1 has (0, 0)" in left(drawn(layer))


def test_dilated_branches_are_left() -> None:
    layer = ForeignAttention()
    for name in ("dep_conv", "dep_conv1"):
        setattr(layer, name, nn.Conv2d(4, 36, 3, padding=2, dilation=2, groups=4))
    assert "dep_conv has dilation (2, 2)" in left(drawn(layer))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (classes.NeedsMore, "it takes arguments that no slide attention takes"),
        (classes.AlwaysFails, "only with our kernel"),
        (classes.ReturnsMore, "more than one output"),
    ],
)
def test_layers_that_cannot_be_called_are_left(kind: type[ForeignAttention], why: str) -> None:
    text = left(drawn(kind()))
    assert "could not be called to prove its fold" in text and why in text


@pytest.mark.parametrize("renamed", [False, True])
def test_a_layer_with_one_branch_is_left(renamed: bool) -> None:
    name = "near" if renamed else "dep_conv"
    assert left(drawn(written.OneBranch(renamed=renamed))) == (
        f"it has only one branch ({name}), so there is nothing to fold"
    )


def test_the_reason_names_a_residual_connection() -> None:
    class Residual(written.Separate):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + super().forward(x)

    layer = drawn(Residual())
    layer.dep_conv1 = nn.Sequential(layer.dep_conv1)  # so that it is read by tracing
    assert "as in a residual connection" in left(layer)


def test_usual_names_on_other_convolutions_are_left() -> None:
    class Convolved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.proj = nn.Conv2d(12, 36, 1), nn.Conv2d(12, 12, 1)
            self.dep_conv, self.dep_conv1 = (nn.Conv2d(36, 12, 3, padding=1) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = self.qkv(x)
            return self.proj(self.dep_conv(rows) + self.dep_conv1(rows))

    assert "its program has no softmax over 9 offsets" in left(drawn(Convolved()))


def test_layers_that_fail_on_some_inputs_are_left() -> None:
    class Positive(ForeignAttention):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.min() < 0:
                raise ValueError("give positive maps")
            return super().forward(x)

    assert left(drawn(Positive())) == "it fails on random inputs (give positive maps)"


def test_layers_without_projections_are_left() -> None:
    text = left(drawn(classes.WithoutProjections()))
    assert "slide attention branches (dep_conv, dep_conv1) but no projections" in text


def test_the_status_counts_folded_and_left_layers() -> None:
    layer = drawn(classes.BiasOnLogits())
    twice, certificate = reparameterize(nn.ModuleDict({"a": layer, "b": layer}).eval())
    assert certificate.status == "1 left" and certificate.folded == ()
    assert [kept.name for kept in certificate.left] == ["a"] and twice["a"] is twice["b"]
    model = nn.ModuleList([drawn(ForeignAttention()), layer, drawn(classes.MaskedBorders())])
    once, certificate = reparameterize(model.eval())
    assert certificate.status == "1 folded, 2 left"
    assert [kept.kind for kept in certificate.left] == ["BiasOnLogits", "MaskedBorders"]
    _, certificate = reparameterize(once)
    assert certificate.status == "1 already folded, 2 left"
    assert isinstance(certificate.left[0], LeftLayer)


def test_training_mode_and_weights_that_are_not_finite_are_refused() -> None:
    model = nn.Sequential(drawn(ForeignAttention())).eval()
    model[0].train()
    with pytest.raises(InputError, match=r"^0 is in training mode: call .eval\(\)"):
        reparameterize(model)
    for kind, kernel in ((ForeignAttention, "dep_conv1.weight"), (written.Functional, "moving")):
        layer = drawn(kind())
        layer.get_parameter(kernel)[0, 0, 0, 0] = torch.nan
        with pytest.raises(InputError, match=r"^0 \(\w+\) outputs NaN or infinity even in"):
            reparameterize(nn.Sequential(layer).eval())
    layer = drawn(ForeignAttention())
    layer.dep_conv.bias.fill_(3e38)
    layer.dep_conv1.bias.fill_(3e38)
    with pytest.raises(InputError, match=r"^0: .* its weights overflow"):
        reparameterize(nn.Sequential(layer).eval())


def test_a_mask_given_to_the_folded_layer_is_refused() -> None:
    folded, _ = reparameterize(nn.Sequential(drawn(classes.Tuple())).eval())
    with pytest.raises(InputError, match="does not use the argument reference: call it"):
        folded[0](torch.randn(1, 12, 5, 7), torch.ones(1))


def test_a_hook_on_slide_attention_is_part_of_its_output() -> None:
    from slide_deploy.models.slide_attention import SlideAttentionConfig

    attention = random_attention(SlideAttentionConfig(8, 2))
    attention.register_forward_hook(lambda _, args, out: (out[0] * 1.5, None, None))
    with pytest.raises(InputError, match=r"^0: folded and branched attention differ by"):
        reparameterize(nn.Sequential(attention).eval())
