"""Factors behind a projection move into its weights."""

import pytest
import torch
from torch import Tensor, nn

from tests.passes.rewriting import LIMIT, program, rewritten
from tests.passes.transformers import NETWORKS, PackedAttention, SeparateAttention

NAME = "factors"


class Behind(nn.Module):
    """A layer, and a function of its output."""

    def __init__(self, way, layer: nn.Module | None = None) -> None:
        super().__init__()
        self.layer = layer or nn.Linear(8, 12)
        self.other = nn.Linear(8, 12)
        self.gamma = nn.Parameter(torch.zeros(12))
        self.heads = nn.Parameter(torch.zeros(3, 1, 1))
        self.way = way

    def forward(self, x: Tensor):
        return self.way(self, self.layer(x), x)


def heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (3, 4)).transpose(1, 2)


MOVED = {
    "a number": lambda net, y, x: y * 0.5,
    "a quotient": lambda net, y, x: y / 3,
    "from the left": lambda net, y, x: 2.0 * y,
    "each channel": lambda net, y, x: net.gamma * y,
    "each head": lambda net, y, x: heads(y) * net.heads,
    "each head and feature": lambda net, y, x: heads(y) * net.gamma.reshape(3, 1, 4),
    "one part": lambda net, y, x: y[..., :4] * 0.3 + y[..., 4:8] * y[..., 8:],
    "every part": lambda net, y, x: sum(part * n for n, part in enumerate(y.split(4, -1), 2)),
    "logits": lambda net, y, x: (heads(y) @ heads(net.other(x)).transpose(2, 3)) * 0.5,
    "logits of keys": lambda net, y, x: (heads(x[..., [0] * 12]) @ heads(y).transpose(2, 3)) / 2,
    "twice": lambda net, y, x: y * net.gamma * 2,
}


@pytest.mark.parametrize("name", MOVED)
def test_the_factor_moves_into_the_projection(name: str) -> None:
    given = program(Behind(MOVED[name]), (2, 5, 8), open_batch=True)
    found = rewritten(given, "constants", NAME)
    assert found.report.changes
    assert found.after["mul"] + found.after["div"] == (name == "one part")
    assert found.error < LIMIT


@pytest.mark.parametrize("groups", [1, 2])
def test_the_factor_moves_into_a_convolution(groups: int) -> None:
    layer = nn.Conv2d(8, 12, 3, padding=1, groups=groups)
    net = Behind(lambda net, y, x: y * net.gamma[:, None, None], layer)
    found = rewritten(program(net, (2, 8, 5, 4)), "constants", NAME)
    assert found.report.changes and found.after["mul"] == 0 and found.error < LIMIT


LEFT = {
    "somebody else reads it": lambda net, y, x: y * 0.5 + y,
    "the parts overlap": lambda net, y, x: y[..., :4] * 0.3 + y[..., 2:6],
    "an output": lambda net, y, x: (y, y * 0.5),
    "behind an activation": lambda net, y, x: y.relu() * 0.5,
    "each position": lambda net, y, x: y.transpose(1, 2) * torch.arange(1.0, 6, dtype=y.dtype),
    "it is computed": lambda net, y, x: y * x.mean(),
    "a larger result": lambda net, y, x: y * net.heads[:, None],
    "a square": lambda net, y, x: (y @ y.transpose(1, 2)) * 0.5,
    "rounded down": lambda net, y, x: torch.div(y, 2, rounding_mode="floor"),
    "no projection": lambda net, y, x: x.relu() * 2,
    "of a vector for each logit": lambda net, y, x: (
        (y @ net.other(x).transpose(1, 2)) * torch.arange(1.0, 6, dtype=y.dtype)
    ),
    "shared weights": lambda net, y, x: y * 0.5 + net.layer(x + 1),
}


@pytest.mark.parametrize("name", LEFT)
def test_the_factor_is_left_unchanged(name: str) -> None:
    found = rewritten(program(Behind(LEFT[name]), (2, 5, 8)), "constants", NAME)
    assert not found.report.changes
    assert found.error < LIMIT


@pytest.mark.parametrize("order", ["3hd", "h3d", "hd3"])
def test_the_scale_of_attention(order: str) -> None:
    given = program(PackedAttention(12, 3, order, "products"), (3, 5, 12), open_batch=True)
    for passes in ((NAME,), ("packed_projections", NAME)):
        found = rewritten(given, *passes)
        assert found.after["mul"] == 0 and found.error < LIMIT


def test_the_scale_of_separate_projections() -> None:
    found = rewritten(program(SeparateAttention(8, 2), (2, 5, 8)), NAME)
    assert found.after["div"] == 0 and found.error < LIMIT


@pytest.mark.parametrize("name", ["vit", "windows", "next"])
def test_no_factor_remains_in_a_network(name: str) -> None:
    make, shape = NETWORKS[name]
    found = rewritten(program(make(), (2, *shape), open_batch=True), NAME)
    assert found.after["mul"] == 0 and found.error < LIMIT
