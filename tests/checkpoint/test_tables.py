"""Position tables are interpolated as pictures, head by head."""

import pytest
import torch
from torch.nn import functional

from slide_deploy.hosts.resize import resize_table
from slide_deploy.hosts.slide_swin.resize import resize_window_table


@pytest.mark.parametrize(("old", "new"), [(4, 7), (7, 4), (2, 14)])
def test_each_head_is_torchs_bicubic_on_the_grid_of_offsets(old: int, new: int) -> None:
    table = torch.randn((2 * old - 1) ** 2, 3)
    resized = resize_window_table(table, new)
    assert resized.shape == ((2 * new - 1) ** 2, 3)
    assert resized.dtype == table.dtype
    for head in range(3):
        grid = table[:, head].reshape(1, 1, 2 * old - 1, 2 * old - 1)
        wanted = functional.interpolate(grid, size=(2 * new - 1, 2 * new - 1), mode="bicubic")
        assert torch.allclose(resized[:, head], wanted.flatten(), atol=1e-5)


def test_the_bias_of_a_position_with_itself_stays_in_the_middle() -> None:
    table = torch.randn(49, 2)
    middle = resize_window_table(table, 8)[(15**2) // 2]
    assert torch.allclose(middle, table[24], atol=1e-6)


def test_equal_sizes_change_nothing() -> None:
    table, embedding = torch.randn(49, 2), torch.randn(1, 24, 5)
    assert torch.equal(resize_window_table(table, 4), table)
    assert torch.equal(resize_table(embedding, (4, 6), (4, 6), "bicubic"), embedding)


def test_a_position_embedding_is_resized_as_an_image() -> None:
    embedding = torch.randn(1, 4 * 6, 5)
    resized = resize_table(embedding, (4, 6), (8, 3), "bicubic")
    picture = embedding.reshape(1, 4, 6, 5).permute(0, 3, 1, 2)
    wanted = functional.interpolate(picture, size=(8, 3), mode="bicubic")
    assert torch.allclose(resized, wanted.permute(0, 2, 3, 1).reshape(1, 24, 5), atol=1e-6)


def test_a_gradient_along_one_axis_stays_on_it() -> None:
    rows = torch.arange(7.0).repeat_interleave(7)[:, None]
    resized = resize_window_table(rows, 8).reshape(15, 15)
    assert torch.allclose(resized, resized[:, :1].expand(15, 15))
    assert (resized[1:, 0] > resized[:-1, 0]).all()
