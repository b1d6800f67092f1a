"""What stands around the module of a network: pixels become its image, its logits probabilities.

The names of the module's layers stay, and whoever folds or lowers the module does not see it.

    (pixel / 255 - mean) / deviation

is a difference and a quotient of each channel, and another order of the channels a convolution of
1 x 1 with a permutation. So the pass ``parallel_branches``, which puts chains of convolutions
together, puts all of it into the weights of a convolution that reads the image, where that is
exact: a convolution with padding sees zeros outside, which are no pixels, and keeps the difference
in front.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.images.description import Preprocessing


class Pixels(nn.Module):
    """Pixels to what a network takes.

    Args:
        preprocessing: with numbers for each channel.
        white: the value of the brightest pixel: 255, or less where pixels are scaled already.
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
        """Set the numbers, each rounded once to a type."""
        asked = self._preprocessing
        for name, values in (("mean", asked.mean), ("deviation", asked.deviation)):
            assert values is not None
            ordered = values[::-1] if asked.order == "bgr" else values
            scaled = torch.tensor(ordered, dtype=torch.float64) * self._white
            self.register_buffer(name, scaled.reshape(-1, 1, 1).to(dtype))
        if asked.order == "bgr":
            swapped = torch.eye(len(self.mean), dtype=dtype).flip(0)
            self.register_buffer("swapped", swapped[:, :, None, None])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Pixels":
        super()._apply(fn, recurse)
        self._fill(self.mean.dtype)  # from the exact numbers, not from the rounded ones
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels in their layout to (batch, channels, height, width) as in training."""
        if self._preprocessing.layout == "nhwc":
            pixels = pixels.permute(0, 3, 1, 2)
        image = (pixels.to(self.mean.dtype) - self.mean) / self.deviation
        return (
            image if self._preprocessing.order == "rgb" else functional.conv2d(image, self.swapped)
        )


@dataclass(frozen=True)
class Around:
    """What stands around a network's module.

    Attributes:
        image: which of the inputs is the image, by its place.
        pixels: makes of pixels what the module takes; None if the caller does.
        classes: which of the outputs goes through a softmax, by its place; None for none.
    """

    image: int = 0
    pixels: Pixels | None = None
    classes: int | None = None

    def copied(self) -> "Around":
        """The same with a module of its own, which may be moved to another type."""
        return Around(self.image, copy.deepcopy(self.pixels), self.classes)
