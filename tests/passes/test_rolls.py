"""Cyclic shifts become slices."""

import pytest
import torch
from torch import Tensor, nn

from tests.passes.rewriting import program, rewritten


class Way(nn.Module):
    def __init__(self, way) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor):
        return self.way(self, x)


ROLLED = {
    "one axis": lambda net, x: torch.roll(x, 2, 1),
    "two axes": lambda net, x: torch.roll(x, (-1, 3), (2, 3)),
    "more than the axis": lambda net, x: torch.roll(x, 7, -1),
}


@pytest.mark.parametrize("name", ROLLED)
def test_shifts_become_slices(name: str) -> None:
    found = rewritten(program(Way(ROLLED[name]), (2, 3, 5, 4), open_batch=True), "rolls")
    assert found.report.changes and found.after["roll"] == 0 and found.error == 0


UNROLLED = {
    "all axes as one": lambda net, x: torch.roll(x, 2),
    "an open axis": lambda net, x: torch.roll(x, 1, 0),
}


@pytest.mark.parametrize("name", UNROLLED)
def test_other_shifts_are_left_unchanged(name: str) -> None:
    found = rewritten(program(Way(UNROLLED[name]), (2, 3, 5, 4), open_batch=True), "rolls")
    assert not found.report.changes and found.after["roll"] == 1 and found.error == 0
