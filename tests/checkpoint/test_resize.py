"""A checkpoint at an image size that it was not trained at."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from slide_deploy.errors import InputError
from slide_deploy.folding.model import reparameterize
from slide_deploy.hosts import Checkpoint, Overrides, load_checkpoint
from slide_deploy.hosts.resize import resize_table
from slide_deploy.hosts.slide_swin.resize import resize_window_table
from slide_deploy.models.slide_swin import SlideSwin
from tests.support import GOLDEN, random_swin, save_folded

NANO = GOLDEN / "slide_swin_nano.pth"  # windows are the whole maps of 4x4 and 2x2
SHIFTED = GOLDEN / "slide_swin_nano_shifted.pth"  # windows of 4 in maps of 8x8 and 4x4

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a training run's checkpoint of a random model."""

    def write(model: SlideSwin) -> Path:
        config = {
            "DATA": {"IMG_SIZE": list(model.config.image_size)},
            "MODEL": {"SWIN": {"WINDOW_SIZE": model.config.window_size}},
        }
        torch.save({"model": model.state_dict(), "config": config}, tmp_path / "run.pth")
        return tmp_path / "run.pth"

    return write


def at(path: Path, *size: int, **options: object) -> Checkpoint:
    return load_checkpoint(path, Overrides(image_size=size or None, **options))  # type: ignore[arg-type]


def refusal(path: Path, *size: int, **options: object) -> str:
    with pytest.raises(InputError) as error:
        at(path, *size, **options)
    text = str(error.value)
    assert text.endswith(".")
    assert len(text.splitlines()) == 1
    return text


def answer(model: torch.nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad():
        return model.double()(image.double())


def test_slide_stages_are_exact_at_another_size(save: Save) -> None:
    trained = random_swin(num_slide_stages=3)
    loaded = at(save(trained), 64, 96)
    assert loaded.config.image_size == (64, 96)
    assert loaded.trained_size == (32, 32)
    assert loaded.resized == ()
    assert loaded.remarks == ("trained on 32x32 images",)
    for name, tensor in trained.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
    # The interior of a larger map answers as the whole of a smaller one does where the smaller
    # one's surroundings are the same: here a map of one colour, far from every border.
    colour = torch.randn(1, 3, 1, 1).expand(1, 3, 64, 96)
    tokens = loaded.classifier().double().stages(colour.double())[0].unflatten(1, (16, 24))
    assert torch.allclose(tokens[0, 6, 7], tokens[0, 9, 15])


def test_unchanged_windows_are_exact_at_another_size() -> None:
    loaded = at(SHIFTED, 256, 128)
    config = loaded.config
    assert [config.window(stage) for stage in (2, 3)] == [4, 4]
    assert [config.shift(stage, 1) for stage in (2, 3)] == [2, 0]
    assert loaded.resized == config.kept_windows == ()
    larger = at(SHIFTED, 256, 256).config
    assert [larger.shift(stage, 1) for stage in (2, 3)] == [2, 2]  # as Swin: the map has grown


def test_windows_that_would_change_are_refused_with_both_ways_out() -> None:
    said = refusal(NANO, 128, 128)
    assert said.startswith(f"{NANO} was trained on 64x64 images: at 128x128 its windows change")
    assert "(stage 2 from 4 to 8, stage 3 from 2 to 4)" in said
    assert "--resize-position-tables" in said
    assert said.endswith("--keep-windows to tile its feature maps with the windows of training.")
    assert "(images whose sides are multiples of 64)" in refusal(NANO, 96, 96)
    assert "(stage 3 from 4 to 3)" in refusal(SHIFTED, 96, 96)


def test_kept_windows_tile_the_larger_map() -> None:
    loaded = at(NANO, 128, 192, keep_windows=True)
    assert [loaded.config.window(stage) for stage in (2, 3)] == [4, 2]
    assert [loaded.config.shift(2, block) for block in (0, 1)] == [0, 2]
    assert loaded.resized == ()
    assert loaded.architecture == "slide_swin"
    trained = load_checkpoint(NANO).model.state_dict()
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, trained[name])


def test_a_kept_window_attends_as_in_training() -> None:
    """Without shifted blocks every window of a larger map is a map of its own."""
    trained = load_checkpoint(SHIFTED)
    block = trained.classifier().layers[3].blocks[0].double()  # one window of 4x4
    larger = at(SHIFTED, 256, 256).classifier().layers[3].blocks[0].double()
    tokens = torch.randn(1, 8, 8, 64, dtype=torch.float64)
    with torch.no_grad():
        whole = larger(tokens.flatten(1, 2)).unflatten(1, (8, 8))
        corner = block(tokens[:, :4, 4:].flatten(1, 2)).unflatten(1, (4, 4))
    assert torch.allclose(whole[:, :4, 4:], corner)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [((96, 128), "64x128 and 128x128"), ((32, 32), "64x64."), ((500, 770), "448x768 and 512x832")],
)
def test_sizes_that_kept_windows_do_not_tile(size: tuple[int, int], nearest: str) -> None:
    said = refusal(NANO, *size, keep_windows=True)
    assert "windows of 4, 2 positions tile images whose sides are multiples of 64" in said
    assert nearest in said


def test_windows_that_stay_but_do_not_tile_name_the_nearest_sizes() -> None:
    assert "the nearest to 160x256 are 128x256 and 256x256" in refusal(SHIFTED, 160, 256)


def test_tables_are_interpolated_on_request() -> None:
    trained = load_checkpoint(NANO).model.state_dict()
    loaded = at(NANO, 128, 128, resize_position_tables=True)
    name = "layers.{}.blocks.{}.attn.relative_position_bias_table"
    assert loaded.resized == tuple(name.format(*where) for where in [(2, 0), (2, 1), (3, 0)])
    assert "3 position tables were interpolated" in loaded.remarks[-1]
    for key, tensor in loaded.model.state_dict().items():
        if key in loaded.resized:
            window = 8 if "layers.2" in key else 4
            assert torch.equal(tensor, resize_window_table(trained[key], window))
        else:
            assert torch.equal(tensor, trained[key])


def test_interpolated_and_kept_are_two_functions() -> None:
    image = torch.randn(1, 3, 128, 128)
    kept = answer(at(NANO, 128, 128, keep_windows=True).model, image)
    resized = answer(at(NANO, 128, 128, resize_position_tables=True).model, image)
    assert (kept - resized).abs().max() > 0.1


def test_the_size_of_training_is_no_change_whatever_the_options() -> None:
    trained = load_checkpoint(NANO)
    for options in ({}, {"keep_windows": True}, {"resize_position_tables": True}):
        loaded = at(NANO, 64, 64, **options)
        assert loaded.config == trained.config
        assert loaded.resized == loaded.remarks == ()


def test_another_window_needs_other_tables() -> None:
    loaded = at(NANO, 128, 192, window_size=2, resize_position_tables=True)
    assert [loaded.config.window(stage) for stage in (2, 3)] == [2, 2]
    # The last stage has windows of 2 already.
    assert {name.split(".")[1] for name in loaded.resized} == {"2"}
    assert at(NANO, window_size=2, resize_position_tables=True).config.window(2) == 2
    said = refusal(NANO, 128, 192, resize_position_tables=True)
    assert "windows of 8 do not tile: give another image size, or --window-size 2." in said
    assert "leave out --window-size" in refusal(NANO, 128, 128, window_size=4, keep_windows=True)


def test_advice_is_a_sentence_and_helps() -> None:
    said = refusal(NANO, 6400, 6400, resize_position_tables=True)
    assert said.endswith(
        "Image size 6400x6400 with windows of 56 exceeds the supported size: give --window-size 40."
    )
    # No window helps here, and none is advised.
    said = refusal(NANO, 9024, 9024, resize_position_tables=True)
    assert said.endswith("exceeds the supported size: give a smaller --image-size.")
    said = refusal(NANO, 100, 100, resize_position_tables=True)
    assert said.endswith("is not a multiple of 32: patches of 4 are merged 3 times by two.")
    said = refusal(NANO, 640, 480, resize_position_tables=True)
    assert said.endswith(
        "which windows of 30 do not tile: give another image size, or --window-size 5."
    )
    at(NANO, 640, 480, window_size=5, resize_position_tables=True)


def test_a_position_embedding_is_interpolated_on_request_only(save: Save) -> None:
    trained = random_swin(num_slide_stages=3, ape=True)
    path = save(trained)
    said = refusal(path, 64, 96)
    assert "its position embedding has entries for 8x8 patches only" in said
    assert "--keep-windows" not in said
    loaded = at(path, 64, 96, resize_position_tables=True)
    assert loaded.resized == ("absolute_pos_embed",)
    wanted = resize_table(trained.absolute_pos_embed, (8, 8), (16, 24), "bicubic")
    assert torch.equal(loaded.model.absolute_pos_embed, wanted)


def test_kept_windows_and_an_interpolated_embedding_go_together(save: Save) -> None:
    path = save(random_swin(ape=True))
    assert "position embedding" in refusal(path, 64, 64, keep_windows=True)
    loaded = at(path, 64, 64, keep_windows=True, resize_position_tables=True)
    assert loaded.config.kept_windows == (2,)
    assert loaded.resized == ("absolute_pos_embed",)


def test_a_folded_checkpoint_is_resized_like_the_trained_one(tmp_path: Path) -> None:
    trained = load_checkpoint(NANO)
    folded = tmp_path / "folded.safetensors"
    save_folded(reparameterize(trained.model)[0], trained, folded)
    image = torch.randn(1, 3, 128, 128)
    assert "stage 2 from 4 to 8" in refusal(folded, 128, 128)
    for options in ({"keep_windows": True}, {"resize_position_tables": True}):
        ours, theirs = (at(path, 128, 128, **options).model for path in (folded, NANO))
        assert torch.allclose(answer(ours, image), answer(theirs, image), atol=1e-5)


def test_a_folded_file_remembers_what_was_interpolated(tmp_path: Path) -> None:
    for options, kept in (
        ({"keep_windows": True}, (4, 2)),
        ({"resize_position_tables": True}, ()),
    ):
        source = at(NANO, 128, 128, **options)
        path = tmp_path / "folded.safetensors"
        save_folded(reparameterize(source.model)[0], source, path)
        again = load_checkpoint(path)
        assert again.config == source.config
        assert again.config.kept_windows == kept
        assert again.resized == source.resized
        assert bool(again.resized) == any("interpolated" in said for said in again.remarks)


def test_sizes_that_no_model_takes() -> None:
    assert "is not a multiple of 32" in refusal(NANO, 100, 100, resize_position_tables=True)
    assert "exceeds the supported size" in refusal(NANO, 16384, 16384, keep_windows=True)
