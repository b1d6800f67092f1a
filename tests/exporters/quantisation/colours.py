"""A small user network that classifies images by their strongest colour channel."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tests.shared import once

SIDE = 16
WIDTH = 64
COLOURS = ("red", "green", "blue")
# With one 8-bit scale for all channels, a value this large rounds the others to zero.
_OUTLIER = 30_000.0


class Colours(nn.Module):
    """Patches, two token projections that are large enough for int8, and a small head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.first = nn.Linear(WIDTH, WIDTH)
        self.second = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, len(COLOURS))

    def features(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).relu().flatten(2).transpose(1, 2)
        return self.second(self.first(tokens).relu()).mean(1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def colours(*spoiled: str) -> Colours:
    """Return the network with a fitted head; `spoiled` does not change its accuracy in floats.

    Args:
        spoiled: layers, "first" or "second", whose input has one huge channel that they ignore.
    """
    torch.manual_seed(0)
    network = Colours().eval()
    fronts = {"first": network.patches, "second": network.first}
    for name in spoiled:
        with torch.no_grad():
            fronts[name].weight[0] = 0
            fronts[name].bias[0] = _OUTLIER
            network.get_submodule(name).weight[:, 0] = 0
    images, labels = drawn(400, seed=1)
    with torch.no_grad():
        found = network.features(normalised(images))
        inputs = torch.cat([found, torch.ones(len(found), 1)], dim=1).double()
        wanted = nn.functional.one_hot(torch.from_numpy(labels), len(COLOURS)).double()
        # Regularised: images of one colour have few features, and large weights amplify rounding.
        damped = inputs.T @ inputs + torch.eye(WIDTH + 1).double()
        fitted = torch.linalg.solve(damped, inputs.T @ (10 * wanted)).float()
        network.head.weight.copy_(fitted[:-1].T)
        network.head.bias.copy_(fitted[-1])
    return network


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return single-colour images, (image, 3) from 0 to 255, and their strongest channels."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 156, (count, 3)).astype(np.uint8)
    labels = random.integers(0, len(COLOURS), count)
    pixels[np.arange(count), labels] = random.integers(190, 256, count)
    return pixels, labels


def normalised(pixels: np.ndarray) -> Tensor:
    """Return colours as input images of the network."""
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    deviation = np.array([0.229, 0.224, 0.225], np.float32)
    values = (pixels.astype(np.float32) / 255 - mean) / deviation
    return torch.from_numpy(values)[:, :, None, None].expand(-1, -1, SIDE, SIDE).contiguous()


def pictures(count: int = 60, seed: int = 0) -> Path:
    """Write a folder of images for each class, named by its number."""

    def write(folder: Path) -> Path:
        for place, (pixel, label) in enumerate(zip(*drawn(count, seed), strict=True)):
            path = folder / str(label) / f"{place:03}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (SIDE, SIDE), tuple(map(int, pixel))).save(path)
        return folder

    return once(("pictures of colours", count, seed), write)


def image(batch: int = 1) -> Tensor:
    return torch.from_numpy(
        np.random.default_rng(5).standard_normal((batch, 3, SIDE, SIDE)).astype(np.float32)
    )


def archive(path: Path, count: int = 24, name: str = "image") -> Path:
    """Write an archive of images as an array."""
    np.savez(path, **{name: normalised(drawn(count)[0]).numpy()})
    return path
