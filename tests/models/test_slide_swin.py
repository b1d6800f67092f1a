"""Windows, masks and position indices of Slide-Swin, and refused settings."""

import pytest
import torch

from slide_deploy.errors import InputError
from slide_deploy.models.slide_attention import SlideAttentionConfig
from slide_deploy.models.slide_swin import SlideSwinConfig
from slide_deploy.models.window_attention import (
    merge_windows,
    partition_windows,
    relative_position_index,
    roll_maps,
    shifted_window_mask,
)
from tests.support import random_swin


def test_windows_of_a_rectangular_map_are_merged_in_place() -> None:
    maps = torch.randn(2, 6, 9, 5)
    windows = partition_windows(maps, 3)
    assert windows.shape == (2 * 2 * 3, 9, 5)
    assert torch.equal(windows[1, 5], maps[0, 1, 5])  # second window, row 1, column 2 of it
    assert torch.equal(merge_windows(windows, 3, (6, 9)), maps)


@pytest.mark.parametrize("shift", [0, 1, -2, 4])
def test_roll_equals_torch(shift: int) -> None:
    maps = torch.randn(2, 5, 4, 3)
    assert torch.equal(roll_maps(maps, shift), torch.roll(maps, (-shift, -shift), (1, 2)))


def test_the_mask_separates_positions_from_opposite_ends() -> None:
    # Positions of the original map, shifted like the map. Neighbours remain within a window.
    height, width, window = 8, 12, 4
    rows = torch.arange(height).repeat_interleave(width).reshape(1, height, width, 1)
    columns = torch.arange(width).repeat(height).reshape(1, height, width, 1)
    mask = torch.from_numpy(shifted_window_mask((height, width), window))
    for original in (rows, columns):
        shifted = partition_windows(roll_maps(original, window // 2), window).squeeze(-1)
        apart = (shifted[:, :, None] - shifted[:, None, :]).abs() >= window
        assert (mask[apart] == -100).all()
    assert (mask == 0).any(dim=-1).all()
    assert (mask[0] == 0).all()  # the first window contains no border


def test_the_position_index_depends_on_the_offset_only() -> None:
    index = relative_position_index(3)
    assert index[0, 0] == index[4, 4] == index[8, 8] == 12
    assert index[0, 4] == index[4, 8]
    assert index[8, 0] == 24
    assert index[0, 8] == 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"image_size": (36, 32)}, "36x32 is not a multiple of 16"),
        ({"depths": (1, 1)}, "one number per stage"),
        ({"image_size": (64, 96), "window_size": 3, "num_slide_stages": 1}, "do not tile"),
        ({"num_heads": (3, 2, 4)}, "do not divide into"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        random_swin(**settings)


def test_even_neighbourhoods_are_refused() -> None:
    with pytest.raises(InputError, match="odd"):
        SlideAttentionConfig(dim=8, num_heads=2, kernel_size=4)


def test_rectangular_images_and_a_position_embedding_work() -> None:
    model = random_swin(image_size=(64, 32), ape=True)
    assert model.config.resolution(2) == (4, 2)
    assert model.config.window(2) == 2
    assert model(torch.randn(2, 3, 64, 32)).shape == (2, 5)
    with pytest.raises(InputError, match="do not tile"):
        SlideSwinConfig(image_size=(480, 416), window_size=7)
