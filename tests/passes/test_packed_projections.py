"""The queries, keys and values of one matmul are split in at most four axes."""

import pytest
import torch
from torch import Tensor, nn

from tests.passes.rewriting import LIMIT, program, ranks, rewritten
from tests.passes.transformers import PackedAttention, SeparateAttention

NAME = "packed_projections"


@pytest.mark.parametrize("written", ["products", "flash", "fused"])
@pytest.mark.parametrize("order", ["3hd", "h3d", "hd3"])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_order_of_outputs(order: str, written: str, batch: int) -> None:
    net = PackedAttention(12, 3, order, written)
    given = program(net, (batch, 5, 12), open_batch=batch > 1)
    found = rewritten(given, NAME)
    assert ranks(given) == 5 and ranks(found.program) == 4
    assert found.after["split"] == 1
    # One before the split, keys, and the result.
    assert found.after["transpose"] + found.after["permute"] == (2 if written == "fused" else 3)
    assert found.error < LIMIT


def test_weights_keep_their_order_if_it_is_right() -> None:
    given = program(PackedAttention(12, 3), (2, 5, 12))
    found = rewritten(given, NAME)
    assert found.program.state_dict.keys() == given.state_dict.keys()


def test_one_head_and_a_batch_of_one() -> None:
    found = rewritten(program(PackedAttention(6, 1), (1, 5, 6)), NAME)
    assert ranks(found.program) == 4 and found.error < LIMIT


@pytest.mark.parametrize("features", [2, 4])
def test_as_many_heads_as_positions(features: int) -> None:
    """If two axes have the same size, features come first, so that no runtime confuses them."""
    found = rewritten(program(PackedAttention(4 * features, 4), (3, 4, 4 * features)), NAME)
    sizes = [
        tuple(node.meta["val"].shape)
        for node in found.program.graph.nodes
        if "reshape" in str(node.target)
    ]
    assert (3, 4, features, 4) in sizes
    assert found.error < LIMIT


class Cut(nn.Module):
    def __init__(self, way) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 24)
        self.way = way

    def forward(self, tokens: Tensor):
        return self.way(self.linear(tokens), self)


def parts(value: Tensor) -> tuple[Tensor, ...]:
    return value.reshape(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)


OTHERS = {
    "keys are not read": lambda x, net: parts(x)[0] @ parts(x)[2].transpose(2, 3),
    "two parts": lambda x, net: torch.mul(*x.reshape(2, 5, 2, 3, 4).unbind(2)),
    "heads beside the batch": lambda x, net: torch.bmm(
        *(
            each.transpose(1, 2) if index else each
            for index, each in enumerate(
                x.reshape(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4).reshape(3, 4, 5, 4)[:2].unbind(0)
            )
        )
    ),
    "chunks of an axis": lambda x, net: torch.mul(
        *x.reshape(2, 5, 4, 2, 3).permute(0, 2, 3, 1, 4).chunk(2, dim=1)
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_splits_stay_right(name: str) -> None:
    found = rewritten(program(Cut(OTHERS[name]), (2, 5, 8)), NAME)
    assert found.error < LIMIT


LEFT = {
    "four axes": lambda x, net: torch.mul(*x.reshape(2, 5, 6, 4).transpose(1, 2).chunk(2, 1)),
    "chunks of the features": lambda x, net: torch.mul(*x.chunk(2, -1)),
    "unequal parts": lambda x, net: (
        x.reshape(2, 5, 3, 2, 4)[:, :, :2].sum(2) + x.reshape(2, 5, 3, 2, 4)[:, :, 2]
    ),
    "an output": lambda x, net: (x, parts(x)[0] * parts(x)[1]),
    "a part is an output": lambda x, net: (parts(x)[0], parts(x)[1] * 2),
    "somebody reads the whole": lambda x, net: parts(x)[0].sum() * x,
    "positions are cut": lambda x, net: x.reshape(2, 5, 3, 2, 4).unbind(1)[1],
}


@pytest.mark.parametrize("name", LEFT)
def test_the_projection_is_left_unchanged(name: str) -> None:
    found = rewritten(program(Cut(LEFT[name]), (2, 5, 8)), NAME)
    assert not found.report.changes
    assert found.before == found.after


def test_separate_projections_are_left_unchanged() -> None:
    found = rewritten(program(SeparateAttention(8, 2), (2, 5, 8)), NAME)
    assert not found.report.changes


def test_rows_of_shared_weights_keep_their_order() -> None:
    def way(x: Tensor, net: Cut) -> Tensor:
        q, k = x.reshape(2, 5, 2, 3, 4).permute(3, 0, 2, 1, 4)[:2].unbind(0)
        first = x.reshape(2, 5, 2, 3, 4).permute(3, 0, 2, 1, 4).unbind(0)
        return first[0] * first[1] + net.linear.weight.sum() + q * k

    found = rewritten(program(Cut(way), (2, 5, 8)), NAME)
    assert not found.report.changes and found.error < LIMIT


def test_shared_weights_that_need_reordering_are_refused() -> None:
    def way(x: Tensor, net: Cut) -> Tensor:
        q, k, v = x.reshape(2, 5, 2, 3, 4).permute(3, 0, 2, 1, 4).unbind(0)
        return q * k * v + net.linear.weight.sum()

    found = rewritten(program(Cut(way), (2, 5, 8)), NAME)
    assert "shared" in found.report.refusals[0].why
    assert not found.report.changes and found.error < LIMIT
