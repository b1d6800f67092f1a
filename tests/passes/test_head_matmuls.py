"""Queries, keys and values are computed by one matmul per head."""

import pytest
from torch import Tensor, nn

from tests.passes.rewriting import LIMIT, program, rewritten
from tests.passes.transformers import PackedAttention, SeparateAttention

PASSES = ("packed_projections", "factors", "movements", "head_matmuls")


@pytest.mark.parametrize("order", ["3hd", "h3d", "hd3"])
@pytest.mark.parametrize("written", ["products", "flash", "fused"])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_part_gets_a_matmul_per_head(order: str, written: str, batch: int) -> None:
    net = PackedAttention(12, 3, order, written, bias=False)
    given = program(net, (batch, 130, 12), open_batch=batch > 1)
    found = rewritten(given, *PASSES)
    assert found.report.changes
    assert found.after["linear"] == 1 and found.after["split"] == 0
    assert found.after["matmul"] == 3 + (0 if written == "fused" else 2)
    assert found.error < LIMIT


def test_separate_projections() -> None:
    net = SeparateAttention(12, 3)
    for layer in (net.query, net.key, net.value):
        layer.bias = None
    found = rewritten(program(net, (2, 130, 12), open_batch=True), *PASSES)
    assert found.after["linear"] == 1 and found.error < LIMIT


LEFT = {
    "few positions": (PackedAttention(12, 3, bias=False), (2, 127, 12)),
    "a bias": (PackedAttention(12, 3), (2, 130, 12)),
    "as many heads as positions": (PackedAttention(256, 128, bias=False), (1, 128, 256)),
}


@pytest.mark.parametrize("name", LEFT)
def test_the_projection_is_left_unchanged(name: str) -> None:
    net, shape = LEFT[name]
    found = rewritten(program(net, shape), *PASSES)
    assert not found.report.changes and found.error < LIMIT


class Read(nn.Module):
    def __init__(self, way) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8, bias=False)
        self.way = way

    def forward(self, x: Tensor):
        return self.way(self.linear(x), self)


def heads(x: Tensor) -> Tensor:
    return x.reshape(2, 130, 2, 4).transpose(1, 2)


OTHERS = {
    "read as tokens as well": lambda x, net: heads(x).sum() + x,
    "an output": lambda x, net: (x, heads(x)),
    "shared weights": lambda x, net: heads(x) + net.linear.weight.sum(),
    "features before heads": lambda x, net: (
        x.reshape(2, 130, 4, 2).permute(0, 3, 2, 1).sin() * x.sum()
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_projection_with_other_readers_is_left_unchanged(name: str) -> None:
    found = rewritten(program(Read(OTHERS[name]), (2, 130, 8)), "head_matmuls")
    assert not found.report.changes and found.error == 0
