"""Constants that are added one after the other become one."""

import pytest
import torch
from torch import Tensor, nn

from tests.passes.rewriting import LIMIT, program, rewritten
from tests.passes.transformers import WindowBlock


class Added(nn.Module):
    """A value of 4 windows, 3 heads and 5 positions per image, and constants."""

    def __init__(self, way) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3, 5, 5))
        self.mask = nn.Parameter(torch.zeros(4, 1, 5, 5))
        self.row = nn.Parameter(torch.zeros(5))
        self.way = way

    def forward(self, x: Tensor):
        return self.way(self, x)


def windows(x: Tensor) -> Tensor:
    return x.unflatten(0, (-1, 4))


JOINED = {
    "of one shape": lambda net, x: x + net.bias + net.bias,
    "broadcast": lambda net, x: (net.row + x) + net.bias,
    "taken away": lambda net, x: x - net.row + net.bias - 1.0,
    "windows": lambda net, x: (windows(x + net.bias) + net.mask).flatten(0, 1),
    "windows with numbers": lambda net, x: (windows(x + 0.5) + net.mask).flatten(0, 1),
    "windows, heads in a row": lambda net, x: (
        (x + net.row).reshape(-1, 60, 5) + net.mask.reshape(4, 25).repeat(1, 3).reshape(60, 5)
    ),
    "three": lambda net, x: (windows(x + net.bias + net.row) + net.mask).flatten(0, 1),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", JOINED)
def test_one_added_constant_is_left(name: str, batch: int) -> None:
    given = program(Added(JOINED[name]), (4 * batch, 3, 5, 5))
    found = rewritten(given, "constants", "added_constants")
    assert found.report.changes
    assert found.after["add"] + found.after["sub"] == 1
    assert found.error < LIMIT


def test_windows_of_an_open_batch_stay_in_four_axes() -> None:
    net = WindowBlock(8, 2, 8, 4, 2)
    given = program(net, (3, 8, 8, 8), open_batch=True)
    found = rewritten(given, "constants", "added_constants", shapes=[(5, 8, 8, 8)])
    added = [
        tuple(node.args[1].meta["val"].shape)
        for node in found.program.graph.nodes
        if "add" in str(node.target) and node.args[1].op == "placeholder"
    ]
    assert added == [(1, 4 * 2, 16, 16)]
    assert found.error < LIMIT


LEFT = {
    "one constant": lambda net, x: x + net.bias,
    "read between": lambda net, x: (y := x + net.bias).relu() + (y + net.row),
    "an output between": lambda net, x: (x + net.bias, x * 2),
    "a product between": lambda net, x: (x + net.bias) * 2 + net.row,
    "a transpose between": lambda net, x: (x + net.bias).transpose(2, 3) + net.row,
    "whole numbers": lambda net, x: (x > 0).long() + 1 + 2,
}


@pytest.mark.parametrize("name", LEFT)
def test_the_constants_are_left_unchanged(name: str) -> None:
    found = rewritten(program(Added(LEFT[name]), (4, 3, 5, 5)), "added_constants")
    assert not found.report.changes


def test_a_much_larger_constant_is_refused() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.columns = (
                nn.Parameter(torch.zeros(1024, 1)),
                nn.Parameter(torch.zeros(1024)),
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.rows + self.columns

    found = rewritten(program(Wide(), (1024, 1024)), "added_constants")
    assert not found.report.changes and found.report.refusals
