"""Operators that change nothing are removed, and equal operators are computed once."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.passes.rewriting import program, rewritten

NAME = "duplicates"


class Way(nn.Module):
    def __init__(self, way) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.register_buffer("zeros", torch.zeros(6))
        self.register_buffer("wide", torch.zeros(2, 1, 1, 6))
        self.way = way

    def forward(self, x: Tensor):
        return self.way(self, x)


SHAPE = (2, 4, 6)

NOTHING = {
    "plus nothing": lambda net, x: (x + 0).sin(),
    "minus nothing": lambda net, x: (x - 0.0).sin(),
    "once": lambda net, x: (1 * x / 1).sin(),
    "plus zeros": lambda net, x: (net.zeros + x).sin(),
    "dropout": lambda net, x: functional.dropout(x, 0.5, training=False).sin(),
    "copies": lambda net, x: x.clone().contiguous().detach().to(x.dtype).sin(),
    "all of an axis": lambda net, x: x[:, :, 0:6].narrow(1, 0, 4).sin(),
    "its own shape": lambda net, x: x.reshape(-1, 4, 6).expand(-1, 4, 6).sin(),
    "its own order": lambda net, x: x.permute(0, 1, 2).sin(),
    "no padding": lambda net, x: functional.pad(x, (0, 0, 0, 0)).sin(),
    "joined with nothing": lambda net, x: torch.cat([x], 1).sin(),
}


@pytest.mark.parametrize("name", NOTHING)
def test_operators_that_change_nothing_are_removed(name: str) -> None:
    found = rewritten(program(Way(NOTHING[name]), SHAPE, open_batch=True), NAME)
    assert {each for each in found.after if found.after[each]} <= {
        *("sin", "sym_size", "_assert_tensor_metadata")
    }
    assert found.error == 0


ONCE = {
    "two layers of the same weights": (lambda net, x: net.linear(x) * net.linear(x), "linear", 1),
    "slices of slices": (
        lambda net, x: x[:, 0::2][:, :, 0::2].sin() + x[:, 0::2][:, :, 1::2].cos(),
        "slice",
        3,
    ),
    "parts of a split": (lambda net, x: x.split(2, 1)[0] + x.split(2, 1)[1], "split", 1),
}


@pytest.mark.parametrize("name", ONCE)
def test_equal_operators_are_computed_once(name: str) -> None:
    way, operator, count = ONCE[name]
    found = rewritten(program(Way(way), SHAPE, open_batch=True), NAME)
    assert found.after[operator] == count < found.before[operator]
    assert found.error == 0


LEFT = {
    "a wider shape": lambda net, x: (x + net.wide).sin(),
    "another type": lambda net, x: x.to(torch.float32).sin(),
    "another type by a sum": lambda net, x: ((x > 0).long() + 0.0).sin(),
    "rounded down": lambda net, x: torch.div(x, 1, rounding_mode="floor").sin(),
    "a part of an axis": lambda net, x: x[:, 1:].sin(),
    "another order": lambda net, x: x.transpose(1, 2).sin(),
    "an output": lambda net, x: x + 0,
    "equal outputs": lambda net, x: (x.sin(), x.sin()),
    "numbers of another type": lambda net, x: (x * 2, x * 2.5, x.sum(1), x.sum(1, keepdim=True)),
    "reshaped": lambda net, x: x.flatten(1).sin(),
}


@pytest.mark.parametrize("name", LEFT)
def test_other_operators_are_left_unchanged(name: str) -> None:
    found = rewritten(program(Way(LEFT[name]), SHAPE, open_batch=True), NAME)
    assert not found.report.changes
    assert found.before == found.after and found.error == 0


def test_random_numbers_are_drawn_as_often_as_before() -> None:
    given = program(Way(lambda net, x: x + torch.rand(6) - torch.rand(6)), SHAPE)
    from slide_deploy.passes.running import run_passes
    from tests.passes.rewriting import operators

    new, _ = run_passes(given, (NAME,))
    assert operators(new)["rand"] == 2


def test_a_view_behind_a_removed_copy_becomes_a_reshape() -> None:
    """The copy made the transposed value contiguous; without it a view would fail."""
    way = lambda net, x: x.transpose(1, 2).contiguous().view(-1, 12).sin()  # noqa: E731
    found = rewritten(program(Way(way), SHAPE, open_batch=True), NAME)
    assert found.report.changes and found.error == 0


MEMORY = {
    "windows that overlap": lambda x: x.as_strided((2, 6, 2, 2), (24, 4, 2, 1)),
    "complex numbers": lambda x: torch.view_as_real(torch.view_as_complex(x.unflatten(2, (2, 2)))),
    "other numbers": lambda x: x.view(torch.int64).bitwise_and(-2).view(torch.float64),
}


@pytest.mark.parametrize("name", MEMORY)
@pytest.mark.parametrize("passed", [NAME, "movements"])
def test_a_copy_whose_memory_layout_is_read_stays(name: str, passed: str) -> None:
    def way(net, x):
        return MEMORY[name](x.transpose(1, 2).contiguous().sin().clone()) * 2

    found = rewritten(program(Way(way), SHAPE), passed)
    assert found.error == 0


def test_an_operand_whose_memory_layout_is_read_gets_a_copy() -> None:
    def way(net, x):
        return x.transpose(1, 2).contiguous().as_strided((2, 6, 2, 2), (24, 4, 2, 1)) * 2

    found = rewritten(program(Way(way), SHAPE), NAME)
    assert found.error == 0 and found.after["contiguous"] == 1


def test_a_buffer_that_is_only_written_stays() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("last", torch.zeros(6))

        def forward(self, x: Tensor) -> Tensor:
            self.last.copy_(x.mean((0, 1)))
            return x * 2 + 0

    given = program(Last(), SHAPE).run_decompositions({})  # without changes in place
    assert rewritten(given, NAME).error == 0
