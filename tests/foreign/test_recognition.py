"""A layer of another project is folded if, and only if, it answers as a slide attention does."""

import copy

import pytest
import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.foreign import HostedAttention, find_foreign
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.models.slide_attention import (
    FoldedSlideAttention,
    SlideAttention,
    SlideAttentionConfig,
)
from slide_deploy.reparameterize import LARGEST_ERROR, fold_attention, reparameterize
from tests.foreign import classes
from tests.foreign.classes import trained
from tests.support import random_attention, random_swin

VARIANTS = {
    "plain": {},
    "scale": {"qk_scale": 0.9},
    "reflect": {"padding_mode": "reflect"},
    "circular": {"padding_mode": "circular"},
    "replicate": {"padding_mode": "replicate"},
    "reduced": {"dim_reduction": 2},
    "own branch of the values": {"share_dwc_kernel": False},
    "shared projection": {"share_qkv": True, "qk_scale": 0.3},
    "no table": {"rpb": False},
    "one head": {"num_heads": 1},
    "kernel 5": {"ka": 5, "dim": 8, "num_heads": 4},
}
ON_MAPS = ("Theirs", "MapAlone", "Pair")


class Around(nn.Module):
    """A model that carries one."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.block = nn.Module()
        self.block.attn = attention


def folded(layer: nn.Module, form: str = "depthwise") -> tuple[nn.Module, nn.Module]:
    """What takes the place of a layer, folded and lowered."""
    model, certificate = reparameterize(Around(layer.double()).eval())
    (line,) = certificate.folded
    assert line.name == "block.attn"
    assert line.error <= 1e-12 and certificate.error == line.error
    return model.block.attn, lower(model, Lowering(form)).block.attn


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("kind", ON_MAPS)
def test_the_same_arithmetic_on_maps(kind: str, settings: dict) -> None:
    layer = trained(getattr(classes, kind), **settings).double()
    maps = torch.randn(2, layer.dim, 6, 9, dtype=torch.float64)
    expected = layer(maps)
    for ours in folded(layer):
        answer = ours(maps)
        assert isinstance(ours, HostedAttention)
        assert type(answer) is type(expected)
        if isinstance(expected, tuple):
            assert len(answer) == len(expected) and set(answer[1:]) == {None}
            answer, expected_map = answer[0], expected[0]
        else:
            expected_map = expected
        assert (answer - expected_map).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["Renamed", "InSequential", "PadsItself"])
def test_parts_of_other_names_and_places(kind: str) -> None:
    layer = trained(getattr(classes, kind), qk_scale=0.9).double()
    maps = torch.randn(2, 12, 6, 9, dtype=torch.float64)
    for ours in folded(layer):
        assert (ours(maps) - layer(maps)).abs().max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        ("WithArguments", (6, 9), {}),
        ("WithArguments", (), {"W": 9, "H": 6}),
        ("WithSize", ((6, 9),), {}),
        ("WithSize", (), {"hw_shape": (6, 9), "identity": None}),
        ("WithAttributes", (), {}),
        ("OfOneSize", (), {}),
        ("OfSquares", (), {}),
    ],
)
def test_tokens(form: str, kind: str, arguments: tuple, named: dict) -> None:
    layer = trained(getattr(classes, kind), padding_mode="reflect").double()
    tokens = torch.randn(2, 49 if kind == "OfSquares" else 54, 12, dtype=torch.float64)
    layer.H, layer.W = 6, 9
    expected = layer(tokens, *arguments, **named)
    layer.H, layer.W = 5, 3
    for ours in folded(layer, form):
        ours.H, ours.W = 6, 9
        assert (ours(tokens, *arguments, **named) - expected).abs().max() < 1e-12
        assert ours.num_heads == 3  # what the model around it may read


def test_maps_with_the_channels_last() -> None:
    layer = trained(classes.ChannelsLast).double()
    maps = torch.randn(2, 6, 9, 12, dtype=torch.float64)
    for ours in folded(layer):
        assert (ours(maps) - layer(maps)).abs().max() < 1e-12


def test_an_argument_that_nobody_can_heed_is_refused() -> None:
    ours, _ = folded(trained(classes.WithSize))
    with pytest.raises(InputError, match="was given identity, which its folded form has no use"):
        ours(torch.zeros(1, 54, 12, dtype=torch.float64), (6, 9), identity=torch.zeros(1))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("Temperature", r"answers up to \d\.\de-\d+ apart, which is more than 1e-11"),
        ("MaskedBorders", r"answers up to \d\.\de[+-]\d+ apart, at the borders of a map only"),
        ("ClampedLogits", r"computes something else"),
        ("Crashes", r"could not be called to prove its fold \(.*needs a process group"),
        ("MoreThanAMap", r"could not be called .*more than a map"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_computes_something_else_is_refused(kind: str, says: str, dtype) -> None:
    model = Around(trained(getattr(classes, kind)).to(dtype)).eval()
    with pytest.raises(InputError, match=rf"^block\.attn \({kind}\) .*{says}") as refused:
        reparameterize(model)
    assert "\n" not in str(refused.value)
    assert "load its weights" not in str(refused.value)


@pytest.mark.parametrize("field", ["padding_mode", "dilation", "stride"])
def test_branches_of_other_geometries_are_refused_by_name(field: str) -> None:
    layer = trained(classes.Theirs)
    setattr(layer.dep_conv1, field, "reflect" if field == "padding_mode" else (2, 2))
    says = rf"^block\.attn \(Theirs\): dep_conv has {field} .* and dep_conv1 has .*one geometry"
    with pytest.raises(InputError, match=says):
        reparameterize(Around(layer).eval())
    if field != "padding_mode":
        setattr(layer.dep_conv, field, (2, 2))
        with pytest.raises(InputError, match=rf"dep_conv has {field} \(2, 2\); only neighbourh"):
            reparameterize(Around(layer).eval())


def test_a_scale_that_the_layer_does_not_use_is_not_believed() -> None:
    layer = trained(classes.MapAlone).double()
    layer.qk_scale = 0.9  # stated, and not read: ``scale`` is
    maps = torch.randn(2, 12, 6, 9, dtype=torch.float64)
    for ours in folded(layer):
        assert (ours(maps) - layer(maps)).abs().max() < 1e-12


def test_a_subclass_of_ours_that_answers_otherwise_is_refused() -> None:
    class Softer(SlideAttention):
        def forward(self, x: Tensor, size=None):
            return super().forward(x / 2, size)

    softer = Softer(SlideAttentionConfig(12, 3))
    softer.load_state_dict(random_attention(softer.config).state_dict())
    with pytest.raises(InputError, match=r"block\.attn \(Softer\) .* computes something else"):
        reparameterize(Around(softer).eval())


def test_a_hook_of_ours_is_part_of_what_it_answers() -> None:
    attention = random_attention(SlideAttentionConfig(12, 3))
    attention.register_forward_hook(lambda module, args, out: (2 * out[0], None, None))
    with pytest.raises(InputError, match=r"differ by .* computes something else than its sett"):
        fold_attention(attention)


def test_the_certificate_is_measured_against_their_own_forward() -> None:
    """In float32 weights: the same layer in float64 is what it is held against."""
    layer = trained(classes.Theirs, padding_mode="circular", qk_scale=0.4)
    model, certificate = reparameterize(Around(layer).eval())
    (line,) = certificate.folded
    assert 0 < line.error <= LARGEST_ERROR
    assert line.error < line.rounding < 1e-4
    assert line.scale == 0.4 and line.branches == ("dep_conv", "dep_conv1")
    assert next(model.parameters()).dtype == torch.float32
    assert "dep_conv" not in "".join(model.state_dict())


def test_the_model_is_left_as_it_is_and_a_shared_layer_stays_shared() -> None:
    layer = trained(classes.WithAttributes)
    layer.H, layer.W = 4, 5
    model = nn.ModuleDict({"one": layer, "two": layer}).eval()
    before = copy.deepcopy(layer.state_dict())
    folded_model, certificate = reparameterize(model)
    assert folded_model["one"] is folded_model["two"] and len(certificate.folded) == 1
    assert model["one"] is layer and (layer.H, layer.W) == (4, 5)
    assert all(torch.equal(before[name], each) for name, each in layer.state_dict().items())
    _, again = reparameterize(folded_model)
    assert again.status == "already folded"


def test_other_layers_are_left_alone() -> None:
    """Ours folded and lowered, and depthwise convolutions of networks without attention."""
    d = nn.Conv2d(4, 36, 3, padding=1, groups=4)
    mobile = nn.Sequential(d, nn.Conv2d(36, 4, 1), copy.deepcopy(d), nn.Conv2d(36, 4, 1)).eval()
    swin = random_swin()
    ours, _ = reparameterize(swin)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = SlideAttentionConfig(12, 3)
            self.one, self.two = (fold_attention(random_attention(config))[0] for _ in "ab")

    for model in (mobile, swin, ours, lower(ours), Net(), lower(Net().eval())):
        assert find_foreign(model) == []
    # Its one layer of another class is found inside a network of ours.
    swin.layers[0].blocks[0].attn = trained(classes.OfSquares, dim=8, num_heads=2)
    assert [name for name, _ in find_foreign(swin)] == ["layers.0.blocks.0.attn"]
    model, _ = reparameterize(swin.eval())
    image = torch.randn(2, 3, 32, 32)
    assert (lower(model)(image) - swin(image)).abs().max() < 1e-5
    kinds = [type(each) for each in model.modules()]
    assert kinds.count(FoldedSlideAttention) == 2
