"""Patches are joined by one transpose, whatever their order."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from tests.passes.rewriting import LIMIT, program, ranks, rewritten
from tests.passes.transformers import PatchMerging

NAME = "patch_merging"


@pytest.mark.parametrize("style", ["slices", "rows"])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_style(style: str, batch: int) -> None:
    given = program(PatchMerging(4, style), (batch, 6, 4, 4), open_batch=batch > 1)
    found = rewritten(given, NAME)
    assert found.report.changes
    assert found.after["slice"] == found.after["cat"] == found.after["permute"] == 0
    assert found.after["transpose"] == 1 and ranks(found.program) == 4
    assert found.error < LIMIT


class Cells(nn.Module):
    """Joins cells of given size and order, and applies a function to the patches."""

    def __init__(self, sides: tuple[int, int], order: list[int], way=None) -> None:
        super().__init__()
        self.sides, self.order = sides, order
        count = 3 * sides[0] * sides[1]
        self.norm, self.linear = nn.LayerNorm(count), nn.Linear(count, 5)
        self.conv = nn.Conv2d(count, 5, 2)
        self.way = way or (lambda net, x: net.linear(net.norm(x)))

    def forward(self, maps: Tensor):
        places = list(itertools.product(*map(range, self.sides)))
        rows, columns = self.sides
        cells = [maps[:, y::rows, x::columns] for y, x in (places[each] for each in self.order)]
        return self.way(self, torch.cat(cells, -1))


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_every_order(order: tuple[int, ...]) -> None:
    found = rewritten(program(Cells((2, 2), list(order)), (2, 6, 4, 3)), NAME)
    assert found.report.changes and found.error < LIMIT


@pytest.mark.parametrize("sides", [(2, 3), (3, 2), (4, 4), (1, 3), (2, 1)])
def test_cells_of_any_height_and_width(sides: tuple[int, int]) -> None:
    count = sides[0] * sides[1]
    order = [(7 * each + 3) % count for each in range(count)]
    order = order if len(set(order)) == count else list(reversed(range(count)))
    found = rewritten(program(Cells(sides, order), (2, 12, 12, 3)), NAME)
    assert found.report.changes and found.after["slice"] == 0 and found.error < LIMIT


def test_column_major_patches_with_several_projections() -> None:
    def way(net: Cells, x: Tensor) -> Tensor:
        return net.linear(x).sum() + net.linear(net.norm(x)) + net.conv(x.permute(0, 3, 1, 2)).sum()

    found = rewritten(program(Cells((2, 2), [0, 2, 1, 3], way), (2, 6, 4, 3)), NAME)
    assert found.report.changes and found.after["slice"] == 0 and found.error < LIMIT


def test_row_major_patches_with_any_readers() -> None:
    found = rewritten(
        program(Cells((2, 2), [0, 1, 2, 3], lambda net, x: x.sin()), (2, 6, 4, 3)), NAME
    )
    assert found.report.changes and found.error == 0


@pytest.mark.parametrize("batch", [1, 2])
def test_column_major_patches_with_any_readers(batch: int) -> None:
    net = Cells((3, 2), [0, 2, 4, 1, 3, 5], lambda net, x: (net.linear(x), x.sin()))
    found = rewritten(program(net, (batch, 6, 4, 3)), NAME)
    assert found.after["slice"] == 0 and found.after["transpose"] == 1
    assert ranks(found.program) == 4 and found.error == 0


LEFT = {
    "another reader": ([0, 3, 1, 2], lambda net, x: net.linear(x) + x.sum()),
    "an output": ([0, 3, 1, 2], lambda net, x: (net.linear(x), x)),
    "a position missing": ([0, 2, 1, 1], lambda net, x: net.linear(x)),
}


@pytest.mark.parametrize("name", LEFT)
def test_other_joins_are_left_unchanged(name: str) -> None:
    order, way = LEFT[name]
    found = rewritten(program(Cells((2, 2), order, way), (2, 6, 4, 3)), NAME)
    assert not found.report.changes
    assert found.before["slice"] == found.after["slice"] and found.error < LIMIT


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (2, 6, 5, 3)])
def test_cells_that_do_not_divide_the_feature_map_are_left_unchanged(
    shape: tuple[int, ...],
) -> None:
    class Ragged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 5)

        def forward(self, maps: Tensor) -> Tensor:
            even = min(maps.shape[1] // 2, 2)
            return self.linear(torch.cat([maps[:, 0::2][:, :even], maps[:, 1::2][:, :even]], -1))

    found = rewritten(program(Ragged(), shape), NAME)
    assert not (shape[1] % 2 and found.report.changes) and found.error < LIMIT


def test_normalised_cells_keep_their_weights_in_order() -> None:
    def way(net: Cells, x: Tensor) -> Tensor:
        return net.linear(net.norm(x))

    given = program(Cells((2, 2), [3, 1, 0, 2], way), (2, 6, 4, 3))
    assert rewritten(given, NAME, "normalised_projections", "absorbed_biases").error < LIMIT
