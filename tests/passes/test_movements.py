"""Chains of reshapes and permutations are rewritten with few operators and axes."""

import random
from math import prod

import pytest
import torch
from torch import Tensor, nn

from slide_deploy.program.arrangement import Arrangement
from slide_deploy.program.movement import plan
from tests.passes.rewriting import program, ranks, rewritten

NAME = "movements"


class Moved(nn.Module):
    def __init__(self, way) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor):
        return self.way(x.sin())


SHAPE = (3, 8, 4, 5)

# The chains, and the number of permutations and reshapes that remain.
MOVED = {
    "windows": (
        lambda x: x.view(-1, 2, 4, 2, 2, 5).permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 5).cos(),
        (1, 2),
    ),
    "windows and back": (
        lambda x: (
            x.view(-1, 2, 4, 2, 2, 5)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(-1, 8, 5)
            .reshape(-1, 2, 2, 4, 2, 5)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(-1, 8, 4, 5)
            .cos()
        ),
        (0, 0),
    ),
    "a shuffle of groups": (
        lambda x: x.reshape(-1, 2, 4, 4, 5).transpose(1, 2).flatten(1, 2).cos(),
        (1, 2),
    ),
    "patches joined column by column": (
        lambda x: x.reshape(-1, 4, 2, 2, 2, 5).permute(0, 1, 3, 4, 2, 5).flatten(3).cos(),
        (1, 2),
    ),
    "transposed twice": (lambda x: x.transpose(1, 2).permute(0, 2, 1, 3).cos(), (0, 0)),
    "tokens made a map": (
        lambda x: x.flatten(2).transpose(1, 2).reshape(-1, 4, 5, 8).cos(),
        (1, 0),
    ),
    "reshaped twice": (lambda x: x.flatten(1).reshape(-1, 4, 40).cos(), (0, 1)),
    "axes of one": (lambda x: x.unsqueeze(1).squeeze(1).cos(), (0, 0)),
    "an output": (lambda x: x.flatten(1).reshape(-1, 4, 40), (0, 1)),
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", MOVED)
def test_the_chain_is_rewritten(name: str, batch: int) -> None:
    way, (permutations, reshapes) = MOVED[name]
    given = program(Moved(way), (batch, *SHAPE[1:]), open_batch=batch > 1)
    found = rewritten(given, NAME, shapes=[(batch * 2 if batch > 1 else 1, *SHAPE[1:])])
    assert found.report.changes
    assert found.after["permute"] + found.after["transpose"] == permutations
    assert found.after["reshape"] + found.after["flatten"] + found.after["view"] == reshapes
    assert ranks(found.program) <= 4
    assert found.error == 0


LEFT = {
    "maps made tokens": lambda x: x.permute(0, 2, 3, 1).flatten(1, 2).cos(),
    "read between": lambda x: (flat := x.flatten(1)).cos().sum() + flat.reshape(-1, 4, 40),
    "axes that cannot be joined": lambda x: x.permute(3, 2, 1, 0).cos(),
    "nothing": lambda x: x.cos(),
}


@pytest.mark.parametrize("name", LEFT)
def test_the_chain_is_left_unchanged(name: str) -> None:
    found = rewritten(program(Moved(LEFT[name]), SHAPE, open_batch=True), NAME)
    assert not found.report.changes and found.error == 0


def test_two_open_sizes_are_kept() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sin().flatten(2).transpose(1, 2).unflatten(2, (2, 2)).flatten(2).cos()

    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    shape = (3, 4, 6, 5)
    given = torch.export.export(
        Flat(), (torch.randn(shape, dtype=torch.float64),), dynamic_shapes=(sizes,)
    )
    found = rewritten(given, NAME, shapes=[(2, 4, 3, 5)])
    assert found.error == 0


def test_random_chains_equal_their_arrangement() -> None:
    """Every chain with an arrangement equals one reshape, one permutation and one reshape."""
    draw = random.Random(0)
    planned = 0
    for _ in range(500):
        shape = [draw.choice((1, 2, 3, 4, 6, 8)) for _ in range(draw.randint(2, 4))]
        source = torch.arange(prod(shape)).reshape(shape)
        value, held = source, Arrangement.of(shape)
        for _ in range(draw.randint(1, 4)):
            if draw.random() < 0.5:
                order = draw.sample(range(value.ndim), value.ndim)
                value, held = value.permute(order), held.permuted(order)
            else:
                sizes = factors(value.numel(), draw.randint(1, 5), draw)
                value, found = value.reshape(sizes), held.reshaped(sizes)
                if found is None:
                    break
                held = found
        else:
            first, order = plan(held)
            planned += 1
            assert torch.equal(source.reshape(first).permute(order).reshape(held.shape), value)
    assert planned > 250


def factors(number: int, count: int, draw: random.Random) -> list[int]:
    sizes, prime = [1] * count, 2
    while number > 1:
        if number % prime:
            prime += 1
        else:
            sizes[draw.randrange(count)] *= prime
            number //= prime
    return sizes


def test_a_view_behind_a_removed_copy_becomes_a_reshape() -> None:
    """The copy made the transposed value contiguous; without it a view would fail."""
    way = lambda x: x.transpose(1, 2).contiguous().view(-1, 16, 10).cos()  # noqa: E731
    assert rewritten(program(Moved(way), SHAPE, open_batch=True), NAME).error == 0


MEMORY = {
    "windows that overlap": lambda x: x.as_strided((2, 6, 2, 2), (24, 4, 2, 1)),
    "complex numbers": lambda x: torch.view_as_real(torch.view_as_complex(x.unflatten(2, (2, 2)))),
    "other numbers": lambda x: x.view(torch.int64).bitwise_and(-2).view(torch.float64),
}


@pytest.mark.parametrize("name", MEMORY)
def test_a_copy_whose_memory_layout_is_read_stays(name: str) -> None:
    def way(x: Tensor) -> Tensor:
        return MEMORY[name](x.transpose(1, 2).contiguous().sin().clone()) * 2

    assert rewritten(program(Moved(way), (2, 4, 6)), NAME).error == 0


def test_a_buffer_that_is_only_written_stays() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("last", torch.zeros(6))

        def forward(self, x: Tensor) -> Tensor:
            self.last.copy_(x.mean((0, 1)))
            return x.transpose(1, 2).transpose(1, 2) * 2

    given = program(Last(), (2, 4, 6)).run_decompositions({})  # without changes in place
    assert rewritten(given, NAME).error == 0
