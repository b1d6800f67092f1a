"""Images are preprocessed as in training: resize, centre crop, mean and deviation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slide_deploy.errors import InputError
from slide_deploy.images.prediction import probabilities
from slide_deploy.images.preprocessing import DEVIATION, MEAN, ImageInput, load_pixels


def load_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read an image, normalised as in the training of ImageNet, (1, 3, height, width)."""
    return ImageInput(size, False, "float32", False).load(path)


def save(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def test_a_uniform_image_becomes_its_normalised_colour(tmp_path: Path) -> None:
    colour = np.array([255, 128, 0])
    path = save(np.broadcast_to(colour, (40, 60, 3)), tmp_path / "flat.png")
    image = load_image(path, (32, 32))
    assert (image.shape, image.dtype) == ((1, 3, 32, 32), np.float32)
    expected = (colour / 255 - np.array(MEAN)) / np.array(DEVIATION)
    assert np.abs(image - expected[None, :, None, None]).max() < 1e-5


@pytest.mark.parametrize("size", [(32, 32), (48, 32), (32, 64)])
def test_the_centre_is_cropped_for_any_aspect_ratio(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = np.zeros((101, 203, 3))
    pixels[50, 101] = 255
    image = load_image(save(pixels, tmp_path / "dot.png"), size)[0, 0]
    assert image.shape == size
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert abs(row - (size[0] - 1) / 2) <= 1
    assert abs(column - (size[1] - 1) / 2) <= 1


def test_a_short_side_of_256_is_cropped_to_224(tmp_path: Path) -> None:
    pixels = np.zeros((256, 256, 3))
    pixels[16:-16, 16:-16] = 255
    image = load_image(save(pixels, tmp_path / "frame.png"), (224, 224))
    assert image.min() > 0  # nothing of the black frame is left


def test_raw_pixels_are_the_same_crop(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3))
    path = save(pixels, tmp_path / "noise.png")
    raw, image = load_pixels(path, (32, 48)), load_image(path, (32, 48))
    assert (raw.shape, raw.dtype) == ((1, 32, 48, 3), np.uint8)
    back = image.transpose(0, 2, 3, 1) * np.array(DEVIATION) + np.array(MEAN)
    assert np.abs(back * 255 - raw).max() < 1e-3


def test_grey_and_transparent_images_become_three_channels(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P"):
        Image.new(mode, (40, 40)).save(tmp_path / f"{mode}.png")
        assert load_image(tmp_path / f"{mode}.png", (32, 32)).shape == (1, 3, 32, 32)


def test_a_file_that_is_not_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    for name in ("text.png", "missing.png", "."):
        with pytest.raises(InputError, match="image"):
            load_image(tmp_path / name, (32, 32))


def test_probabilities_add_up_and_do_not_overflow() -> None:
    shares = probabilities(np.array([[1000.0, 1000.0, -1000.0]], dtype=np.float32))
    assert shares.tolist() == [[0.5, 0.5, 0.0]]
