"""Values that depend on weights alone become constants."""

import pytest
import torch
from torch import Tensor, nn

from tests.passes.rewriting import LIMIT, program, rewritten
from tests.passes.transformers import NETWORKS


class With(nn.Module):
    """Applies a function to a weight and an input."""

    def __init__(self, way, size: tuple[int, ...] = (9, 4)) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(size))
        self.register_buffer("index", torch.arange(36).reshape(6, 6) % 9)
        self.register_buffer("count", torch.zeros(4))
        self.way = way

    def forward(self, x: Tensor):
        return self.way(self, x)


COMPUTED = {
    "a bias that indices pick": lambda net, x: x + net.table[net.index].permute(2, 0, 1),
    "ranges": lambda net, x: x + torch.arange(6) * torch.ones(6, 1, dtype=x.dtype),
    "a mask": lambda net, x: x.masked_fill(net.index[:6] > 3, -100.0),
    "numbers of sizes": lambda net, x: x + torch.zeros(x.shape[-1], dtype=x.dtype) + 1,
    "a clamped weight": lambda net, x: x * net.table.clamp(max=0.1).exp().sum(),
}


def test_later_constants_read_earlier_ones() -> None:
    def way(net, x):
        mask = torch.where(net.index > 3, 0.0, -100.0).to(x.dtype)
        large = mask.repeat(64, 64)  # more than the file may grow by
        return x + mask, (large * x.mean()).sum() + mask.exp().sum() * x

    found = rewritten(program(With(way), (2, 4, 6, 6)), "constants")
    assert len(found.report.changes) >= 2 and found.error <= LIMIT


@pytest.mark.parametrize("name", COMPUTED)
def test_a_value_of_weights_alone_becomes_a_constant(name: str) -> None:
    found = rewritten(program(With(COMPUTED[name]), (2, 4, 6, 6), open_batch=True), "constants")
    assert found.report.changes and found.error == 0
    assert sum(found.after.values()) < sum(found.before.values())


LEFT = {
    "read from the input": lambda net, x: x + x.mean(),
    "random numbers": lambda net, x: x + 0 * torch.rand(6),
    "a weight itself": lambda net, x: x + net.table.sum() * 0 if False else x * 2,
    "an output": lambda net, x: (x * 2, net.table * 2),
    "a size that is open": lambda net, x: x + torch.arange(x.shape[0])[:, None, None, None],
}


@pytest.mark.parametrize("name", LEFT)
def test_other_values_are_left_unchanged(name: str) -> None:
    found = rewritten(program(With(LEFT[name]), (2, 4, 6, 6), open_batch=True), "constants")
    assert not found.report.changes
    assert found.before == found.after


def test_a_buffer_that_the_network_changes_is_no_constant() -> None:
    def count(net: With, x: Tensor) -> Tensor:
        net.count.add_(1)
        return x + (net.count * 2)[:, None, None]

    given = program(With(count), (2, 4, 6, 6)).run_decompositions({})
    found = rewritten(given, "constants")
    assert not found.report.changes


def test_the_file_does_not_grow_by_repetitions() -> None:
    net = With(lambda net, x: x + net.table.expand(2048, 2048), size=(1, 2048))
    found = rewritten(program(net, (1, 2048, 2048)), "constants")
    assert not found.report.changes and found.report.refusals


def test_weights_that_are_needed_anyway_do_not_pay_for_a_constant() -> None:
    net = With(lambda net, x: x @ net.table + (x @ (net.table * 2)), size=(1500, 1500))
    found = rewritten(program(net, (1, 1500)), "constants")
    assert not found.report.changes and found.report.refusals


def test_windows_select_no_bias_at_run_time() -> None:
    make, shape = NETWORKS["windows"]
    found = rewritten(program(make(), (2, *shape), open_batch=True), "constants")
    assert found.before["index"] == 3 and found.after["index"] == 0
    assert found.error < LIMIT
