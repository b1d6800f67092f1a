"""Bugs that random networks found, each as a network that is as small as possible."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.passes.running import run_passes
from tests.passes.random_networks.builder import RandomNetwork
from tests.passes.random_networks.checks import hold_each_alone, source_of, text


def network(function, *shape: int) -> RandomNetwork:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return RandomNetwork([(function, (0,), "function")], (1,), x)


class Projected(nn.Module):
    """Projects the tokens of a feature map and reshapes them to a feature map of given sizes."""

    def __init__(self, *grid: int) -> None:
        super().__init__()
        self.linear, self.grid = nn.Linear(2, 2).double(), grid

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.linear(x.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).reshape(x.shape[0], 2, *self.grid)


@pytest.mark.parametrize("grid", [(6, 4), (1, 24), (3, 8)])
def test_tokens_that_become_a_feature_map_of_other_sizes_stay_tokens(grid: tuple[int, int]) -> None:
    source = source_of(network(Projected(*grid), 2, 2, 4, 6), is_open=False)
    assert not hold_each_alone(source, ["channels_first"])
    same = source_of(network(Projected(4, 6), 2, 2, 4, 6), is_open=False)
    assert hold_each_alone(same, ["channels_first"]) == {"channels_first"}


def test_transposes_that_cancel_are_reported() -> None:
    there_and_back = network(
        lambda x: x.flatten(2).transpose(1, 2).transpose(1, 2).reshape(2, 2, 4, 5), 2, 2, 4, 5
    )
    source = source_of(there_and_back, is_open=False)
    assert hold_each_alone(source, ["channels_first"]) == {"channels_first"}


def test_unread_values_are_no_change() -> None:
    def unread(x: Tensor) -> Tensor:
        functional.max_pool2d(x, 2)
        return x + 1

    source = source_of(network(unread, 2, 2, 4, 6), is_open=False)
    program, (report,) = run_passes(source.program, ("common_operators",))
    assert not report.changes
    assert "max_pool2d" not in text(program)


def test_movements_that_end_in_five_axes_are_rewritten_once() -> None:
    def cut(x: Tensor) -> Tensor:
        return x.transpose(1, 2).relu().transpose(1, 2).reshape(x.shape[0], 8, 2, 2, 2)

    for is_open in (False, True):
        assert not hold_each_alone(source_of(network(cut, 2, 8, 8), is_open), ["movements"])


def test_a_shift_by_the_whole_axis_is_reported_and_an_output_stays_an_operator() -> None:
    inside = source_of(network(lambda x: x.roll(4, 2).relu(), 2, 2, 4, 6), is_open=False)
    assert hold_each_alone(inside, ["rolls"]) == {"rolls"}
    output = source_of(network(lambda x: x.roll(4, 2), 2, 2, 4, 6), is_open=False)
    assert not hold_each_alone(output, ["rolls"])
