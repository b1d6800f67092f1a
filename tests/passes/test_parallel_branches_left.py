"""Pairs of layers that resemble parallel branches are left unchanged."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.folding.model import reparameterize
from slide_deploy.lowerings import FORMS, Lowering, lower
from tests.passes.blocks import drawn
from tests.passes.programs import (
    is_unchanged,
    largest_difference,
    maps,
    names,
    program_of,
    rewritten,
)
from tests.support import random_swin

PASS = "parallel_branches"


class Pair(nn.Module):
    """Layers, and a function of them and of the input."""

    def __init__(self, function: "Callable[[Pair, Tensor], object]", **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def conv(size: int, **settings: object) -> nn.Conv2d:
    settings.setdefault("padding", size // 2)
    return nn.Conv2d(8, 8, size, **settings)  # type: ignore[arg-type]


def pair(
    function: Callable[[Pair, Tensor], object], one: nn.Module, two: nn.Module, **more: nn.Module
) -> Callable[[], nn.Module]:
    return lambda: Pair(function, one=one, two=two, **more)


# Pairs that must stay, with the expected reason; "" if nobody would expect a merge.
ALIKE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a value that is an output as well": (
        pair(lambda m, x: ((y := m.one(x)), y + m.two(x)), conv(3), conv(1)),
        "has other readers",
    ),
    "a value that is read elsewhere": (
        pair(lambda m, x: (y := m.one(x)) + m.two(x) + y.sigmoid(), conv(3), conv(1)),
        "has other readers",
    ),
    "another input": (pair(lambda m, x: m.one(x) + m.two(x.relu()), conv(3), conv(1)), ""),
    "an input whose places are exchanged": (
        pair(lambda m, x: m.one(x) + m.two(x.flip(3)), conv(3), conv(1)),
        "",
    ),
    "another stride": (
        pair(
            lambda m, x: m.one(x[:, :, :2, :2]) + m.two(x[:, :, :2, :2]),
            conv(3, stride=2),
            conv(2, padding=0),
        ),
        "strides differ",
    ),
    "an activation between": (
        pair(lambda m, x: m.one(x).relu() + m.two(x), conv(3), conv(1)),
        "",
    ),
    "statistics of the batch": (
        pair(
            lambda m, x: m.norm(m.one(x)) + m.two(x),
            conv(3),
            conv(1),
            norm=nn.BatchNorm2d(8, track_running_stats=False),
        ),
        "statistics of each batch",
    ),
    "a mirror in place of zeros": (
        pair(lambda m, x: m.one(x) + m.two(x), conv(3, padding_mode="reflect"), conv(1)),
        "values other than zero",
    ),
    "a pad of ones": (
        pair(
            lambda m, x: m.one(functional.pad(x, [1, 1, 1, 1], value=1.0)) + m.two(x),
            conv(3, padding=0),
            conv(1),
        ),
        "values other than zero",
    ),
    "average pooling that leaves out its padding": (
        pair(
            lambda m, x: m.one(x) + m.two(x),
            conv(3),
            nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        ),
        "does not count its padding",
    ),
    "average pooling that rounds up": (
        pair(
            lambda m, x: m.one(x) + m.two(x),
            conv(3, stride=2),
            nn.AvgPool2d(2, ceil_mode=True),
        ),
        "rounds sizes up",
    ),
    "largest values": (
        pair(lambda m, x: m.one(x) + m.two(x), conv(3), nn.MaxPool2d(3, 1, 1)),
        "",
    ),
    "a product": (pair(lambda m, x: m.one(x) * m.two(x), conv(3), conv(1)), ""),
    "an active dropout": (
        pair(
            lambda m, x: functional.dropout(m.one(x), 0.5, training=True) + m.two(x),
            conv(3),
            conv(1),
        ),
        "dropout is active",
    ),
    "a transposed convolution": (
        pair(lambda m, x: m.one(x) + m.two(x), conv(3), nn.ConvTranspose2d(8, 8, 3, padding=1)),
        "transposed",
    ),
    "factors that depend on the input": (
        pair(
            lambda m, x: m.one(x) * x.mean((2, 3), keepdim=True).sigmoid() + m.two(x),
            conv(3),
            conv(1),
        ),
        "factors depend on the input",
    ),
    "weights that depend on the input": (
        pair(
            lambda m, x: functional.conv2d(x, m.one.weight * x.mean(), padding=1) + m.two(x),
            conv(3, bias=False),
            conv(1),
        ),
        "weights depend on the input",
    ),
    "a broadcast sum": (
        pair(lambda m, x: m.one(x) + m.two(x), conv(3), conv(10, padding=0)),
        "",
    ),
    "a number for each position": (
        pair(lambda m, x: m.one(x) * m.two.weight[0, 0], conv(3, bias=False), conv(10)),
        "",
    ),
    "a row and a column, which cost less than a square": (
        pair(
            lambda m, x: m.one(x) + m.two(x),
            nn.Conv2d(8, 8, (1, 3), padding=(0, 1)),
            nn.Conv2d(8, 8, (3, 1), padding=(1, 0)),
        ),
        "would take 576 multiplications per output position instead of 384",
    ),
    "dilated to places where the other has none": (
        pair(lambda m, x: m.one(x) + m.two(x), conv(3, dilation=2, padding=2), conv(3)),
        "would take 1600 multiplications per output position instead of 1152",
    ),
    "dense 1x1 beside a depthwise kernel": (
        pair(lambda m, x: m.one(x) + m.two(x), conv(3, groups=8), conv(1)),
        "would take 576 multiplications per output position instead of 136",
    ),
    "padding between": (
        pair(lambda m, x: m.two(m.one(x)), conv(1), conv(3)),
        "pads the output of a layer with bias with zeros",
    ),
    "padding between larger kernels": (
        pair(
            lambda m, x: m.two(m.one(x)),
            nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=8),
            nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=8),
        ),
        "pads the output of a larger kernel with zeros",
    ),
    "a bottleneck": (
        pair(
            lambda m, x: m.two(m.one(x)),
            nn.Conv2d(8, 2, 1),
            nn.Conv2d(2, 8, 3),
        ),
        "",
    ),
    "1x1 before a depthwise kernel": (
        pair(lambda m, x: m.two(m.one(x)), conv(1, bias=False), conv(3, groups=8)),
        "",
    ),
    "a normalisation of what is read elsewhere": (
        pair(lambda m, x: m.two(y := m.one(x)) + y.relu(), conv(3), nn.BatchNorm2d(8)),
        "has other readers",
    ),
    "the batch in another order": (
        pair(lambda m, x: m.one(x) + m.two(x.flip(0)), conv(3), conv(1)),
        "",
    ),
    "no convolution at all": (
        pair(lambda m, x: x + m.one(x) + 2 * x, nn.BatchNorm2d(8), nn.Identity()),
        "",
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_similar_pairs_are_left_unchanged(name: str) -> None:
    make, why = ALIKE[name]
    model, x = drawn(make()).double(), maps(2, 8, 10, 10)
    before = program_of(model, x)
    after, report = rewritten(before, PASS)
    assert is_unchanged(before, after) and not report.changes
    if "dropout" not in name:
        assert largest_difference(before, after, x) == 0
    if why:
        assert any(why in refusal.why for refusal in report.refusals)
    else:
        assert not report.refusals


def test_the_pairs_are_merged_without_their_difference() -> None:
    """The same pairs are merged without their difference, so the cases above can fail."""
    for function in (
        lambda m, x: m.one(x) + m.two(x),
        lambda m, x: m.two(m.one(x)[:, :, 1:-1, 1:-1]),
    ):
        model = drawn(Pair(function, one=conv(3), two=conv(1))).double()
        after, report = rewritten(program_of(model, maps(2, 8, 10, 10)), PASS)
        assert names(after) == ["conv2d"] and not report.refusals


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strips", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_forms_of_slide_attention_stay(form: str, strips: int) -> None:
    """The forms keep convolutions of one input separate on purpose."""
    folded, _ = reparameterize(random_swin(num_slide_stages=1, depths=(1,), num_heads=(2,)))
    lowered = lower(folded, Lowering(form, strips))
    x = maps(1, 3, 32, 32, dtype=torch.float32)
    before = program_of(lowered, x)
    after, report = rewritten(before, PASS)
    assert is_unchanged(before, after) and not report.changes and not report.refusals


def test_folded_attentions_stay() -> None:
    folded, _ = reparameterize(random_swin(num_slide_stages=1, depths=(1,), num_heads=(2,)))
    before = program_of(folded, maps(1, 3, 32, 32, dtype=torch.float32))
    after, report = rewritten(before, PASS)
    assert is_unchanged(before, after) and not report.changes and not report.refusals


def test_feature_maps_without_channels_stay() -> None:
    class Without(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x[:, :0] * 2 + 1, x], 1)

    given = program_of(Without(), maps(1, 2, 4, 4))
    new, _ = rewritten(given, PASS)
    assert is_unchanged(given, new)
