"""Layers that neither names nor shapes identify are folded by their traced program."""

import copy
import random
from typing import Any

import pytest
import torch
from torch import nn

from slide_deploy.folding.model import reparameterize
from slide_deploy.foreign import HostedAttention
from slide_deploy.lowerings import Lowering, lower
from tests.foreign import classes
from tests.foreign import other_operators as operators
from tests.foreign import written_otherwise as written
from tests.foreign.classes import drawn
from tests.foreign.test_folding import SIZE
from tests.support import randomise

LAYERS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "functional": (written.Functional, {}),
    "functional, 5x5": (written.Functional, {"kernel": 5}),
    "parameters in a dict and a list": (written.InDicts, {}),
    "branches that pad and normalise": (written.Wrapped, {}),
    "branches that reflect and normalise": (written.Wrapped, {"mode": "reflect"}),
    "both branches in a module": (written.InOneModule, {}),
    "separate projections": (written.Separate, {}),
    "separate projections, narrowed": (written.Separate, {"reduction": 2, "bias": False}),
    "keys and values as modules": (written.Sides, {}),
    "products of matrices": (operators.Matrices, {"by_head": False}),
    "scaled_dot_product_attention": (operators.Matrices, {"fused": True}),
    "unfold as the shift": (operators.Unfolded, {}),
    "slices as the shift": (operators.Sliced, {}),
    "normalised projections": (operators.Normalised, {"table": False}),
    "kernels of each head": (operators.ForEachHead, {}),
    "keys and values in one call": (operators.Together, {}),
    "offset by offset": (operators.OffsetByOffset, {}),
    "embedded positions, scale in a buffer": (written.IndexedTable, {}),
    "parametrised weight_norm": (written.WeightNorm, {}),
    "weight_norm by hooks": (written.WeightNorm, {"old": True}),
    "parametrisation": (written.Parametrised, {}),
    "list, numbers, dropped path": (written.Dropped, {}),
    "softmax in float32": (operators.SoftmaxInFloat32, {}),
    "features before heads": (operators.TokensHeadLast, {}),
    "temperature for each head": (classes.Temperature, {}),
    "fixed temperature": (classes.FixedTemperature, {}),
    "four branches": (classes.FourBranches, {}),
}


def tensor_of(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple | list) else output


def filled(layer: nn.Module, seed: int = 0) -> nn.Module:
    """Randomise every parameter and the statistics of normalisations."""
    drawn(layer, seed)
    generator = torch.Generator().manual_seed(seed)
    for module in layer.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    return layer


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if place % 2 else [])
        for place, name in enumerate(LAYERS)
    ],
)
def test_folds_and_lowers_exactly(name: str) -> None:
    kind, settings = LAYERS[name]
    layer = filled(kind(**settings))
    # The reference must not cast to float32.
    truth = classes.ForeignAttention(**settings) if kind is operators.SoftmaxInFloat32 else layer
    if truth is not layer:
        truth.load_state_dict(layer.state_dict())
    layer, truth = layer.double(), truth.double().eval()
    maps = torch.randn(2, 12, *SIZE, dtype=torch.float64)
    expected = truth(maps)

    folded, certificate = reparameterize(nn.Sequential(nn.ModuleDict({"it": layer})).eval())
    (line,) = certificate.folded
    assert line.name == "0.it" and line.error < 1e-11
    assert certificate.status == "folded" and len(line.branches) >= 1
    # Flat has one kernel for all heads.
    shape = "running-mean" if kind is operators.ForEachHead else "flat"
    for form in (folded, lower(folded, Lowering(shape))):
        it = form.get_submodule("0.it")
        assert isinstance(it, HostedAttention)
        output = it(maps)
        assert type(output) is type(expected)
        assert not isinstance(output, list) or output[1:] == [None, 0.5]
        assert (tensor_of(output) - tensor_of(expected)).abs().max() < 1e-11


def test_the_certificate_describes_the_branches() -> None:
    def line(layer: nn.Module) -> Any:
        return reparameterize(filled(layer))[1].folded[0]

    functional = line(written.Functional())
    assert functional.branches == ("still", "moving")
    assert (functional.shift_distance, functional.shift_bias) == (0, 0)
    assert functional.position_bias is None and functional.scale is None
    wrapped = line(written.Wrapped())
    assert wrapped.branches == ("dep_conv.body.0", "dep_conv1.body.0")
    for kind, shift in ((operators.Unfolded, "unfold"), (operators.Sliced, "slices")):
        copied = line(kind())
        assert set(copied.branches) == {shift, "dep_conv1"}
        assert (copied.shift_distance, copied.shift_bias) == (0, 0)
    assert line(written.WeightNorm()).scale == pytest.approx(0.5)


@pytest.mark.slow
def test_random_settings_fold() -> None:
    """Every padding mode, kernel size and row order folds, borders included."""
    chance = random.Random(0)
    for seed in range(25):
        heads, d = chance.choice([1, 2, 3]), chance.choice([1, 2, 4])
        reduction = chance.choice([1, 2])
        settings = {
            "dim": heads * d * reduction,
            "heads": heads,
            "kernel": chance.choice([3, 3, 5]),
            "scale": chance.choice([None, 0.3, -1.2]),
            "mode": chance.choice(["zeros", "reflect", "replicate", "circular"]),
            "table": chance.choice([True, False]),
            "reduction": reduction,
            "share_qkv": chance.choice([True, False]),
            "own_values": chance.choice([True, False]),
            "bias": chance.choice([True, False]),
            "by_head": chance.choice([True, False]),
        }
        kind = chance.choice(
            [
                classes.ForeignAttention,
                classes.Tuple,
                classes.InSequential,
                classes.FixedTemperature,
            ]
        )
        if kind is classes.InSequential:
            settings["own_values"] = False
        if settings["share_qkv"]:
            settings["by_head"] = True
        layer = filled(kind(**settings), seed).double()
        size = (chance.choice([5, 6, 9]), chance.choice([5, 8]))
        maps = torch.randn(2, settings["dim"], *size, dtype=torch.float64)
        folded, certificate = reparameterize(layer)
        assert certificate.status == "folded", (settings, certificate.left)
        assert (tensor_of(folded(maps)) - tensor_of(layer(maps))).abs().max() < 1e-11, settings


@pytest.mark.slow
def test_more_channels_than_positions_fold() -> None:
    layer = filled(written.Separate(dim=192, heads=6)).double()
    maps = torch.randn(1, 192, 5, 6, dtype=torch.float64)
    folded, certificate = reparameterize(layer)
    assert certificate.status == "folded"
    assert (folded(maps) - layer(maps)).abs().max() < 1e-11


@pytest.mark.parametrize("what", ["q", "table", "row of a kernel"])
def test_zero_weights_hide_no_dependency(what: str) -> None:
    layer = filled(written.Separate()).double()
    with torch.no_grad():
        if what == "q":
            layer.to_q.weight.zero_()
        elif what == "table":
            layer.table.zero_()
        else:
            layer.dep_conv.weight[:9] = 0
            layer.dep_conv1.weight[:9] = 0
    maps = torch.randn(1, 12, *SIZE, dtype=torch.float64)
    folded, certificate = reparameterize(layer)
    assert certificate.status == "folded"
    assert (folded(maps) - layer(maps)).abs().max() < 1e-11


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "kind", [classes.ForeignAttention, operators.SoftmaxInFloat32, written.Functional]
)
def test_half_precision_is_proved_in_float64_and_rounded(
    kind: type[nn.Module], dtype: torch.dtype
) -> None:
    model = nn.Sequential(filled(kind())).to(dtype).eval()
    before = copy.deepcopy(model.state_dict())
    folded, certificate = reparameterize(model)
    (line,) = certificate.folded
    assert line.error < 1e-11 < line.rounding < 0.1
    assert {tensor.dtype for tensor in folded.state_dict().values()} == {dtype}
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) and value.dtype == dtype
    maps = torch.randn(1, 12, *SIZE, dtype=dtype)
    exact = copy.deepcopy(model).double()(maps.double())
    assert (folded(maps).double() - exact).abs().max() < (0.05 if dtype is torch.float16 else 0.4)


def test_ordinary_attention_has_nothing_to_fold() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
            self.mixed = nn.Conv2d(12, 108, 3, padding=1, groups=12)
            self.back = nn.Conv2d(108, 12, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.back(self.mixed(x)).flatten(2).transpose(1, 2)
            return self.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)

    _, certificate = reparameterize(randomise(Plain()))
    assert certificate.status == "nothing to fold"
