"""Small networks with random biases, and pixels as their inputs."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters import pipeline
from exporters.outcome import ExportOptions, ExportResult
from slide_deploy.api.networks import network_of
from slide_deploy.images.description import DEVIATION, MEAN, Preprocessing
from tests.shared import once

CLASSES = 7
# Not divisible by 4, so the patches leave a remainder of rows and columns.
SIZE = (29, 35)


class Classifier(nn.Module):
    """Patches by a convolution, then a padded convolution, a mean and a linear layer.

    Args:
        padding: of the first convolution.
        channels: of the image.
        stem: what reads the image, in the place of the convolution.
    """

    def __init__(self, padding: int = 0, channels: int = 3, stem: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = stem or nn.Conv2d(channels, 16, 4, 4, padding=padding)
        self.norm = nn.BatchNorm2d(16)
        self.conv = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.conv(self.norm(self.stem(image)).relu())
        return self.head(maps.mean((2, 3)))


class Patches(nn.Module):
    """Patches by reshaping and a linear layer, as in some vision transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(48, 16)

    def forward(self, image: Tensor) -> Tensor:
        patches = functional.pixel_unshuffle(image[:, :, :28, :32], 4)
        return self.linear(patches.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ReadTwice(nn.Module):
    """A convolution beside a mean of the image itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 4, 4)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(image) + image.mean((1, 2, 3), keepdim=True)


def drawn(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return the network in evaluation mode with random weights, including normalisations."""
    generator = torch.Generator().manual_seed(seed)
    for name, held in network.state_dict().items():
        if held.is_floating_point():
            numbers = torch.randn(held.shape, generator=generator) * (0.2 if held.dim() > 1 else 1)
            held.copy_(numbers.abs() + 0.5 if name.endswith("running_var") else numbers)
    return network.eval()


def exported(
    network: nn.Module, title: str, options: ExportOptions, shape: tuple[int, ...] = (1, 3, *SIZE)
) -> ExportResult:
    """Return the files of a network, which are written once for all test processes.

    Args:
        network: drawn.
        title: of the network, which tells it from others.
        options: of the export, whose folder is replaced.
        shape: of the image.
    """

    def write(folder: Path) -> ExportResult:
        asked = ExportOptions(**{**vars(options), "out": folder})
        return pipeline.export(network_of(network, torch.zeros(shape)), asked)

    asked = {name: str(value) for name, value in vars(options).items() if name != "out"}
    return once(("pixels", title, shape, *sorted(asked.items())), write)


def pictures(size: tuple[int, int] = SIZE, channels: int = 3) -> dict[str, np.ndarray]:
    """Pixels (1, channels, height, width) from 0 to 255."""
    random = np.random.default_rng(5)
    noise = random.integers(0, 256, (1, channels, *size), dtype=np.uint8)
    border = noise.copy()
    border[..., 4:-4, 4:-4] = 118
    return {
        "noise": noise,
        "border": border,
        "faint": random.integers(117, 120, noise.shape, dtype=np.uint8),
        "black": np.zeros_like(noise),
        "white": np.full_like(noise, 255),
    }


def normalised(
    pixels: np.ndarray,
    mean: tuple[float, ...] = MEAN,
    deviation: tuple[float, ...] = DEVIATION,
) -> np.ndarray:
    """Return the float32 input of a file without preprocessing."""
    means, deviations = (np.array(each).reshape(-1, 1, 1) for each in (mean, deviation))
    return ((pixels / 255 - means) / deviations).astype(np.float32)


def given(pixels: np.ndarray, asked: Preprocessing, format: str) -> np.ndarray:
    """Return pixels in the layout of a file; Core ML always takes an image."""
    if format == "coreml":
        return pixels
    ordered = pixels[:, ::-1] if asked.order == "bgr" else pixels
    return ordered.transpose(0, 2, 3, 1) if asked.layout == "nhwc" else ordered
