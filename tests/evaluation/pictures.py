"""Pictures of one colour each, and classifiers that look at nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from slide_deploy.backends import ImageSession, Port, Session
from slide_deploy.backends.base import FunctionStream
from slide_deploy.evaluation.classifier import Classifier
from slide_deploy.images.preprocessing import image_input

SIDE = 4


def colour(path: Path, red: int, green: int = 0, blue: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (red, green, blue)).save(path)
    return path


def damaged(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return path


def many(folder: Path, count: int, classes: int) -> Path:
    """Pictures of random colours in folders "0", "1" and so on; every ninth is damaged."""
    numbers = np.random.default_rng(0)
    for index in range(count):
        path = folder / str(index % classes) / f"{index:03}.png"
        if index % 9 == 4:
            damaged(path)
        else:
            colour(path, *map(int, numbers.integers(0, 256, 3)))
    return folder


def classifier(
    answer: Callable[[np.ndarray], np.ndarray],
    name: str = "file.onnx",
    batch: int | None = None,
    sha256: str = "",
) -> Classifier:
    """A file that takes pixels.

    Args:
        answer: colours (image, 3) to logits (image, class).
        name: of the file.
        batch: None leaves it open.
        sha256: of the file; made of its name if left out.
    """
    port = Port("image", (batch, 3, SIDE, SIDE), "uint8")

    def run(feeds):
        images = feeds["image"]
        assert batch is None or len(images) == batch
        return [answer(images.mean(axis=(2, 3))).astype(np.float32)]

    file = ImageSession(
        Session("toy", "1.0", (port,), ("logits",), lambda: FunctionStream(run)), port
    )
    return Classifier(name, sha256 or f"sha of {name}", file, image_input(file))
