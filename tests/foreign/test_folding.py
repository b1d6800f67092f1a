"""Slide attentions of other projects fold exactly, keep their interface and lower to every form."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slide_deploy.folding.model import reparameterize
from slide_deploy.foreign import HostedAttention
from slide_deploy.lowerings import FORMS, Lowering, lower
from slide_deploy.models.slide_attention import PADDING_MODES, SlideAttention, SlideAttentionConfig
from tests.foreign import classes
from tests.foreign.classes import ForeignAttention, drawn
from tests.support import random_attention, random_swin, randomise

SIZE = (7, 5)


def call(layer: nn.Module, maps: Tensor, kind: type[ForeignAttention]) -> Tensor:
    """Run a layer on (batch, C, H, W), called as a class of this kind is called."""
    tokens = maps.flatten(2).transpose(1, 2)
    height, width = maps.shape[2:]
    if kind is classes.TokensAndSize:
        return layer(tokens, height, width)
    if kind is classes.WidthFirst:
        return layer(tokens, w=width, h=height)
    if kind is classes.TokensAndPair:
        return layer(tokens, (height, width))
    if kind is classes.SizeAttributes:
        layer.H, layer.W = height, width
        return layer(tokens)
    if kind in (classes.Resolution, classes.SquareTokens):
        return layer(tokens)
    return layer(maps.permute(0, 2, 3, 1) if kind is classes.ChannelsLast else maps)


LAYERS: dict[str, tuple[type[ForeignAttention], dict[str, Any]]] = {
    "maps": (ForeignAttention, {}),
    "tuple": (classes.Tuple, {}),
    "channels last": (classes.ChannelsLast, {}),
    "tokens, H and W": (classes.TokensAndSize, {}),
    "tokens, width first": (classes.WidthFirst, {}),
    "tokens, a pair, a tuple": (classes.TokensAndPair, {}),
    "attributes set by the model": (classes.SizeAttributes, {}),
    "fixed resolution": (classes.Resolution, {}),
    "fixed side": (classes.Resolution, {"resolution": 6}),
    "square tokens": (classes.SquareTokens, {}),
    "qk_scale": (ForeignAttention, {"scale": 0.9}),
    "negative scale": (ForeignAttention, {"scale": -0.4}),
    **{mode: (ForeignAttention, {"mode": mode}) for mode in PADDING_MODES[1:]},
    "pads itself": (classes.PadsItself, {}),
    "(q|k|v, head, d)": (ForeignAttention, {"by_head": False}),
    "renamed": (classes.Renamed, {}),
    "in nn.Sequential": (classes.InSequential, {}),
    "share_qkv": (ForeignAttention, {"share_qkv": True}),
    "dim_reduction": (ForeignAttention, {"reduction": 2}),
    "scale of the narrowed head": (ForeignAttention, {"reduction": 2, "scale": 2**-0.5}),
    "no table": (ForeignAttention, {"table": False}),
    "values of their own": (ForeignAttention, {"own_values": True}),
    "no bias": (ForeignAttention, {"bias": False}),
    "kernel of 5, reflect": (ForeignAttention, {"kernel": 5, "mode": "reflect"}),
    "heads as many as offsets": (ForeignAttention, {"dim": 18, "heads": 9}),
    "one feature a head": (ForeignAttention, {"dim": 3, "heads": 3}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_folds_and_lowers_exactly(name: str) -> None:
    kind, settings = LAYERS[name]
    layer = drawn(kind(**settings)).double()
    size = (6, 6) if "side" in name or "square" in name else SIZE
    model = nn.ModuleDict({"body": nn.Sequential(layer)}).eval()
    maps = torch.randn(2, layer.proj.out_features if hasattr(layer, "proj") else 12, *size).double()
    expected = call(layer, maps, kind)
    before = copy.deepcopy(model.state_dict())

    folded, certificate = reparameterize(model)
    (line,) = certificate.folded
    assert line.name == "body.0" and line.error < 1e-11
    assert not any(type(module) is kind for module in folded.modules())
    assert not any(isinstance(module, SlideAttention) for module in folded.modules())
    assert len(line.branches) == (3 if settings.get("own_values") else 2)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())

    for form in (None, *FORMS):
        other = folded if form is None else lower(folded, Lowering(form, 2))
        output = call(other["body"][0], maps, kind)
        if isinstance(expected, tuple):
            assert isinstance(output, tuple) and len(output) == len(expected)
            assert output[1:] == expected[1:]
            output, truth = output[0], expected[0]
        else:
            truth = expected
        assert output.shape == truth.shape
        assert (output - truth).abs().max() < 1e-11, form


@pytest.mark.parametrize("name", ["maps", "tokens, H and W", "circular", "(q|k|v, head, d)"])
def test_float32_models_stay_float32(name: str) -> None:
    kind, settings = LAYERS[name]
    layer = drawn(kind(**settings))
    folded, certificate = reparameterize(nn.Sequential(layer).eval())
    assert {tensor.dtype for tensor in folded.state_dict().values()} == {torch.float32}
    assert 1e-11 < certificate.folded[0].rounding < 1e-5
    maps = torch.randn(2, 12, *SIZE)
    lowered = lower(folded, Lowering("flat"))
    for form in (folded, lowered):
        output = call(form[0], maps, kind)
        assert (output - call(layer, maps, kind)).abs().max() < 1e-5


class Network(nn.Module):
    """Two foreign attentions after a convolution, one on NCHW and one on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, 2, padding=1)
        self.first = classes.Tuple(mode="reflect")
        self.norm = nn.LayerNorm(12)
        self.second = classes.TokensAndSize(by_head=False, scale=0.7)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.stem(image)
        maps = maps + self.first(maps)[0]
        tokens = self.norm(maps.flatten(2).transpose(1, 2))
        return self.second(tokens, maps.shape[2], maps.shape[3]).mean(1)


@pytest.mark.parametrize(
    "form",
    [
        "depthwise",
        *(pytest.param(form, marks=pytest.mark.slow) for form in ("flat", "running-mean")),
    ],
)
def test_an_exported_file_agrees_on_a_runtime(form: str, tmp_path) -> None:
    ort = pytest.importorskip("onnxruntime")
    model = drawn(Network())
    image = torch.randn(1, 3, 18, 14)
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(image.double())
    lowered = lower(reparameterize(model)[0], Lowering(form))
    program = torch.export.export(lowered, (image,))
    assert (program.module()(image) - expected).abs().max() < 1e-5
    path = tmp_path / "layer.onnx"
    torch.onnx.export(program, (), path, dynamo=True, opset_version=20, verbose=False)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    assert abs(output - expected.numpy()).max() < 1e-5


def test_a_model_that_is_an_attention_a_shared_layer_and_a_copy_fold() -> None:
    layer = drawn(classes.Tuple()).double()
    maps = torch.randn(1, 12, *SIZE, dtype=torch.float64)
    alone, certificate = reparameterize(layer)
    assert isinstance(alone, HostedAttention) and certificate.folded[0].name == ""
    assert (copy.deepcopy(alone)(maps)[0] - layer(maps)[0]).abs().max() < 1e-11
    shared, certificate = reparameterize(nn.ModuleDict({"a": layer, "b": layer}).eval())
    assert shared["a"] is shared["b"] and len(certificate.folded) == 1
    again, certificate = reparameterize(shared)
    assert certificate.status == "already folded"
    assert (again["a"](maps)[0] - layer(maps)[0]).abs().max() < 1e-11


def test_attributes_of_the_replaced_layer_are_kept() -> None:
    folded, _ = reparameterize(nn.Sequential(drawn(ForeignAttention(scale=0.3))).eval())
    assert (folded[0].heads, folded[0].kernel, folded[0].scale) == (3, 3, 0.3)


def test_a_subclass_of_slide_attention_is_judged_by_its_forward() -> None:
    class Halved(SlideAttention):
        def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Any:
            return super().forward(x)[0]

    config = SlideAttentionConfig(12, 3)
    layer = Halved(config)
    layer.load_state_dict(random_attention(config).state_dict())
    layer = layer.double().eval()
    folded, certificate = reparameterize(nn.Sequential(layer).eval())
    maps = torch.randn(1, 12, *SIZE, dtype=torch.float64)
    assert certificate.status == "folded"
    assert (folded(maps) - layer(maps)).abs().max() < 1e-11


def test_a_foreign_attention_inside_slide_swin_folds() -> None:
    model = random_swin(image_size=(32, 32)).double()
    attention = drawn(classes.Resolution(dim=8, heads=2, resolution=(8, 8))).double()
    model.layers[0].blocks[0].attn = attention
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    folded, certificate = reparameterize(model)
    assert [line.name for line in certificate.folded] == [
        "layers.0.blocks.0.attn",
        "layers.1.blocks.0.attn",
    ]
    lowered = lower(folded, Lowering("flat"))
    assert (folded(image) - model(image)).abs().max() < 1e-11
    assert (lowered(image) - model(image)).abs().max() < 1e-11


def test_ordinary_networks_have_nothing_to_fold() -> None:
    plain = nn.Sequential(
        nn.Conv2d(4, 36, 3, groups=4), nn.Conv2d(36, 4, 1), nn.Flatten(), nn.Linear(4, 12)
    )
    several = nn.Sequential(
        *(nn.Conv2d(4, 36, 3, groups=4) for _ in range(2)), nn.Linear(4, 12), nn.Linear(4, 4)
    )
    for network in (plain, several, random_swin(num_slide_stages=0)):
        folded, certificate = reparameterize(randomise(network))
        assert certificate.status == "nothing to fold" and certificate.left == ()
        assert [type(one) for one in folded.modules()] == [type(one) for one in network.modules()]
