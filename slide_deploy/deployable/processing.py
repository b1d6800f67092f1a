"""Embedded processing of a network: pixels are normalised before it, and a softmax follows it.

It runs outside the module, so the names of the module's layers do not change, and folding and
lowering do not see it.

    (pixel / 255 - mean) / deviation

is a per-channel subtraction and division. Swapping channels is a 1x1 convolution with a
permutation. The pass ``parallel_branches`` merges chains of convolutions, so it merges all of this
into the convolution that reads the image, where that is exact. If that convolution has zero
padding, the subtraction remains before it, because zeros are not pixels.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.images.description import Preprocessing


class PixelNormalisation(nn.Module):
    """Converts pixels to the image that a network takes.

    Args:
        preprocessing: preprocessing with a mean and deviation of every channel.
        white: value of the brightest pixel: 255, or less if pixels are scaled already.
    """

    mean: Tensor
    deviation: Tensor
    swapped: Tensor

    def __init__(self, preprocessing: Preprocessing, white: float) -> None:
        super().__init__()
        self._preprocessing = preprocessing
        self._white = white
        self._fill(torch.float32)

    def _fill(self, dtype: torch.dtype) -> None:
        """Set the constants, each rounded once to a type."""
        order = self._preprocessing.order
        constants = {"mean": self._preprocessing.mean, "deviation": self._preprocessing.deviation}
        for name, values in constants.items():
            assert values is not None
            ordered = values[::-1] if order == "bgr" else values
            scaled = torch.tensor(ordered, dtype=torch.float64) * self._white
            self.register_buffer(name, scaled.reshape(-1, 1, 1).to(dtype))
        if order == "bgr":
            swapped = torch.eye(len(self.mean), dtype=dtype).flip(0)
            self.register_buffer("swapped", swapped[:, :, None, None])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PixelNormalisation":
        super()._apply(fn, recurse)
        self._fill(self.mean.dtype)  # from the exact constants, not from the rounded ones
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Convert pixels in their layout to a normalised (batch, channels, height, width)."""
        if self._preprocessing.layout == "nhwc":
            pixels = pixels.permute(0, 3, 1, 2)
        image = (pixels.to(self.mean.dtype) - self.mean) / self.deviation
        return (
            image if self._preprocessing.order == "rgb" else functional.conv2d(image, self.swapped)
        )


@dataclass(frozen=True)
class Processing:
    """Processing that is embedded before and after a network's module.

    Attributes:
        image: index of the input that is the image.
        pixels: converts pixels to what the module takes; None if the caller does so.
        classes: index of the output that goes through a softmax; None for no softmax.
    """

    image: int = 0
    pixels: PixelNormalisation | None = None
    classes: int | None = None

    def copied(self) -> "Processing":
        """Return a copy whose module can be moved to another type."""
        return Processing(self.image, copy.deepcopy(self.pixels), self.classes)
