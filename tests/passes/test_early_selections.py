"""Selections move in front of the work, so that only the selected part is computed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.program.traced import call, shape
from tests.passes.rewriting import LIMIT, Rewritten, program, rewritten
from tests.passes.transformers import NETWORKS

NAME = "early_selections"
TOKENS = (2, 6, 8)


class Net(nn.Module):
    """Layers, and a function that combines them."""

    def __init__(self, way) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(8, 8) for _ in range(3))
        self.norm = nn.LayerNorm(8)
        self.pos = nn.Parameter(torch.zeros(6, 8))
        self.way = way

    def forward(self, x: Tensor):
        return self.way(self, x)


def attention(net: Net, x: Tensor) -> Tensor:
    """Two heads, before the last projection."""
    q, k, v = (
        layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (net.one, net.two, net.three)
    )
    return ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2)


def block(net: Net, x: Tensor) -> Tensor:
    x = x + net.one(attention(net, net.norm(x)))
    return x + net.two(functional.gelu(net.three(net.norm(x))))


MOVED = {
    "a projection": lambda net, x: net.one(x)[:, 0],
    "the last row": lambda net, x: net.one(x)[:, -1],
    "half of the rows": lambda net, x: net.one(x)[:, 1:4],
    "an MLP": lambda net, x: net.two(functional.gelu(net.one(net.norm(x))))[:, :1],
    "a sum with a constant": lambda net, x: net.one(x + net.pos)[:, 2],
    "a constant of one row": lambda net, x: net.one(net.two(x) * net.pos[:1])[:, 2],
    "attention": lambda net, x: attention(net, x)[:, 0],
    "a block": lambda net, x: block(net, x)[:, 0],
    "two blocks": lambda net, x: block(net, block(net, x))[:, 0],
    "through an activation": lambda net, x: torch.tanh(x)[:, 0],
    "of an image of a batch": lambda net, x: net.one(x.reshape(2, 3, 2, 8))[:, 1],
    "behind a softmax": lambda net, x: x.softmax(-1).exp()[:, 0],
    "a slice from before the axis": lambda net, x: net.one(x)[:, -8:2],
    "a slice to behind the axis": lambda net, x: net.one(x)[:, 4:99],
    "twice the same": lambda net, x: net.one(x)[:, 0] + net.one(x)[:, 0].exp(),
}


@pytest.mark.parametrize("name", MOVED)
@pytest.mark.parametrize("open_batch", [False, True])
def test_the_selection_moves(name: str, open_batch: bool) -> None:
    if open_batch and name == "of an image of a batch":
        pytest.skip("two batches are one there")
    given = program(Net(MOVED[name]), TOKENS, open_batch=open_batch)
    found = rewritten(given, NAME)
    assert found.error < LIMIT
    assert found.report.changes
    again = rewritten(found.program, NAME)
    assert not again.report.changes


def rows(found: Rewritten, operator: str) -> list[int]:
    """Number of rows that each operator of a name computes, in program order."""
    nodes = [node for node in found.program.graph.nodes if (c := call(node)) and c.name == operator]
    return [int(shape(node)[-2]) for node in nodes]


def test_only_unread_rows_of_the_last_block_are_skipped() -> None:
    found = rewritten(program(Net(MOVED["two blocks"]), TOKENS), NAME)
    # q, k, v, the last projection and two of the MLP, twice.
    assert rows(found, "linear") == [6, 6, 6, 6, 6, 6, 1, 6, 6, 1, 1, 1]
    assert rows(found, "layer_norm") == [6, 6, 6, 1]
    assert rows(found, "matmul") == [6, 6, 1, 1]


STAYS = {
    "most of the rows": lambda net, x: net.one(x)[:, 1:5],
    "channels": lambda net, x: net.one(x)[..., 0],
    "normalised rows": lambda net, x: functional.layer_norm(x, (6, 8))[:, 0],
    "shares over rows": lambda net, x: x.softmax(1)[:, 0],
    "rows that are mixed": lambda net, x: x.exp().cumsum(1)[:, 0],
    "columns of a product": lambda net, x: (x @ x.mT)[..., 0],
    "rows turned round": lambda net, x: x.exp().flip(1)[:, 0],
    "no row": lambda net, x: torch.cat((net.one(x)[:, 2:2], net.two(x)), 1),
    "a sum alone": lambda net, x: (x + 1)[:, 0],
    "every second": lambda net, x: net.one(x)[:, ::2],
    "what else is read": lambda net, x: (lambda y: y[:, 0] + y.mean(1))(net.one(x)),
    "several rows apart": lambda net, x: (lambda y: y[:, 0] + y[:, 1])(net.one(x)),
    "an output": lambda net, x: (lambda y: (y, y[:, 0]))(net.one(x)),
    "rows cut anew": lambda net, x: x.exp().reshape(2, 8, 6)[:, 0],
}


@pytest.mark.parametrize("name", STAYS)
def test_the_selection_stays(name: str) -> None:
    found = rewritten(program(Net(STAYS[name]), TOKENS), NAME)
    assert found.error < LIMIT
    assert not found.report.changes


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_torch(causal: bool) -> None:
    def way(net: Net, x: Tensor) -> Tensor:
        q, k, v = net.one(x), net.two(x), net.three(x)
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)[:, 1]

    found = rewritten(program(Net(way), TOKENS), NAME)
    assert found.error < LIMIT
    assert rows(found, "linear") == ([6, 6, 6] if causal else [1, 6, 6])


def test_the_operand_of_a_matmul_with_itself_keeps_its_rows() -> None:
    def way(net: Net, x: Tensor) -> Tensor:
        y = net.one(x)
        return (y @ y.mT)[:, 0]

    found = rewritten(program(Net(way), TOKENS), NAME)
    assert found.error < LIMIT
    assert rows(found, "linear") == [6]


def test_a_value_that_is_its_own_weight_keeps_its_rows() -> None:
    class Gram(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.exp()
            return functional.linear(y, y)[0]

    found = rewritten(program(Gram(), (6, 8)), NAME)
    assert found.error < LIMIT


@pytest.mark.slow
def test_selections_move_along_chains_of_any_length() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(400))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return x[:, 0]

    found = rewritten(program(Deep(), TOKENS), NAME)
    assert found.error < LIMIT
    assert set(rows(found, "linear")) == {1}


@pytest.mark.parametrize("name", ["vit", "vit flash", "vit h3d"])
def test_transformers_with_a_class_token(name: str) -> None:
    build, size = NETWORKS[name]
    given = program(build(), (2, *size), open_batch=True)
    found = rewritten(given, "common_operators", NAME)
    assert found.error < LIMIT
    assert found.report.changes
    assert rows(found, "linear")[-3:].count(1) >= 2
