"""Attention written out, and cyclic shifts as slices."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as attention

from tests.passes.rewriting import LIMIT, program, rewritten


class Way(nn.Module):
    def __init__(self, way) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3, 5, 5))
        self.register_buffer("seen", torch.ones(5, 5, dtype=torch.bool).tril())
        self.register_buffer("hidden", torch.zeros(5, 5, dtype=torch.bool))
        self.way = way

    def forward(self, x: Tensor):
        return self.way(self, x)


WRITTEN = {
    "plain": lambda net, x: attention(x, x + 1, x * 2),
    "scaled": lambda net, x: attention(x, x + 1, x * 2, scale=0.3),
    "a bias": lambda net, x: attention(x, x + 1, x * 2, attn_mask=net.bias),
    "a computed mask": lambda net, x: attention(x, x, x, attn_mask=x @ x.transpose(2, 3)),
    "what is seen": lambda net, x: attention(x, x + 1, x * 2, attn_mask=net.seen),
    "causal": lambda net, x: attention(x, x + 1, x * 2, is_causal=True),
    "fewer keys": lambda net, x: attention(x, x[:, :, 1:], x[:, :, 1:], is_causal=True),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_attention_is_written_out(name: str) -> None:
    given = program(Way(WRITTEN[name]), (2, 3, 5, 4), open_batch=True)
    found = rewritten(given, "written_attention")
    assert found.after["scaled_dot_product_attention"] == 0
    assert found.after["softmax"] == 1 and found.error < LIMIT


LEFT = {
    "shared keys": lambda net, x: attention(x[:, :2], x[:, :1], x[:, :1], enable_gqa=True),
    "a query that sees nothing": lambda net, x: attention(x, x, x, attn_mask=net.hidden),
    "a computed choice": lambda net, x: attention(x, x, x, attn_mask=x @ x.transpose(2, 3) > 0),
    "dropout": lambda net, x: attention(x, x, x, dropout_p=0.5) * 0 + x,
}


@pytest.mark.parametrize("name", LEFT)
def test_attention_is_left(name: str) -> None:
    given = program(Way(LEFT[name]), (2, 3, 5, 4))
    from slide_deploy.passes.running import run_passes
    from tests.passes.rewriting import operators

    new, (report,) = run_passes(given, ("written_attention",))
    assert report.refusals and not report.changes
    assert operators(new)["scaled_dot_product_attention"] == 1


ROLLED = {
    "one axis": lambda net, x: torch.roll(x, 2, 1),
    "two axes": lambda net, x: torch.roll(x, (-1, 3), (2, 3)),
    "more than the axis": lambda net, x: torch.roll(x, 7, -1),
}


@pytest.mark.parametrize("name", ROLLED)
def test_shifts_are_slices(name: str) -> None:
    found = rewritten(program(Way(ROLLED[name]), (2, 3, 5, 4), open_batch=True), "rolls")
    assert found.report.changes and found.after["roll"] == 0 and found.error == 0


UNROLLED = {
    "all axes as one": lambda net, x: torch.roll(x, 2),
    "an open axis": lambda net, x: torch.roll(x, 1, 0),
}


@pytest.mark.parametrize("name", UNROLLED)
def test_shifts_are_left(name: str) -> None:
    found = rewritten(program(Way(UNROLLED[name]), (2, 3, 5, 4), open_batch=True), "rolls")
    assert not found.report.changes and found.after["roll"] == 1 and found.error == 0
