"""Write normalisations over channels as convolutions, so that feature maps keep the NCHW layout.

    y = x - mean(x),     y / sqrt(mean(y^2) + epsilon)

A mean over the channels is a convolution to one channel, and another convolution broadcasts it to
all channels. The mean is subtracted first, because it may be far larger than the deviation.

In patch merging the k x k positions p of a cell are normalised together and projected. With
y = x - m, where m is the mean of each position, and d the difference of m to the mean of the cell,

    variance = mean(y^2) + mean(d^2)
    W (x - mean of the cell) = W y + sum_p d[p] sum_c W[p, c]
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import shape

aten = torch.ops.aten

# Constants are computed in this type and rounded once, to the type of the feature maps.
_EXACT = torch.float64


@dataclass(frozen=True)
class Affine:
    """A projection of channels.

    Attributes:
        weight: (outputs, inputs).
        bias: (outputs), or None.
    """

    weight: Tensor
    bias: Tensor | None


def centred(weight: Tensor, dim: int) -> Tensor:
    """Subtract the mean over the outputs or the inputs from weights (outputs, inputs, ...)."""
    exact = weight.double()
    return (exact - exact.mean(dim, keepdim=True)).to(weight.dtype)


class Normaliser:
    """Writes normalisations of NCHW feature maps.

    Args:
        editor: editor of the program.
        like: the operator to replace.
    """

    def __init__(self, editor: Editor, like: Node) -> None:
        self._editor = editor
        self._like = like
        self._dtype = like.meta["val"].dtype

    def convolve(
        self, maps: Node, weight: Tensor, bias: Tensor | None = None, stride: int = 1
    ) -> Node:
        """Insert a convolution without padding; weight (outputs, inputs, k, k)."""
        constants = [
            None if each is None else self._editor.constant(each.to(self._dtype), name)
            for each, name in ((weight, "weight"), (bias, "bias"))
        ]
        return self._insert(aten.conv2d.default, maps, *constants, [stride, stride])

    def normalise(
        self,
        maps: Node,
        epsilon: float,
        weight: Tensor | None,
        bias: Tensor | None,
        is_centred: bool,
    ) -> Node:
        """Normalise each position over its channels.

        Args:
            maps: (batch, C, H, W).
            epsilon: added to the variance.
            weight: (C), or None.
            bias: (C), or None.
            is_centred: whether the mean of each position is already zero.
        """
        channels = int(shape(maps)[1])
        if not is_centred:
            maps, _ = self._centre(maps, channels)
        mean = torch.full((1, channels, 1, 1), 1 / channels, dtype=_EXACT)
        variance = self.convolve(self._square(maps), mean, torch.tensor([epsilon], dtype=_EXACT))
        gain = torch.ones(channels) if weight is None else weight
        return self._scaled(maps, variance, gain, bias)

    def merge(
        self, maps: Node, epsilon: float, projection: Affine, cell: list[tuple[int, int]]
    ) -> Node:
        """Normalise cells of k x k positions and project each to (batch, outputs, H/k, W/k).

        Args:
            maps: (batch, C, H, W).
            epsilon: added to the variance.
            projection: projection of k*k*C inputs.
            cell: row and column in the cell of each group of C inputs, in order.
        """
        channels, count = int(shape(maps)[1]), len(cell)
        side = 1 + max(row for row, _ in cell)
        kernel = cell_kernel(centred(projection.weight, 1), cell)
        maps, mean = self._centre(maps, channels)
        differences = self.convolve(
            mean,
            (torch.eye(count, dtype=_EXACT) - 1 / count).reshape(count, 1, side, side),
            stride=side,
        )
        sums = kernel.double().sum(dim=1).reshape(-1, count, 1, 1)
        merged = self._insert(
            aten.add.Tensor,
            self.convolve(maps, kernel, stride=side),
            self.convolve(differences, sums),
        )
        share = torch.full((1, channels, side, side), 1 / (channels * count), dtype=_EXACT)
        variance = self._insert(
            aten.add.Tensor,
            self.convolve(
                self._square(maps), share, torch.tensor([epsilon], dtype=_EXACT), stride=side
            ),
            self.convolve(
                self._square(differences), torch.full((1, count, 1, 1), 1 / count, dtype=_EXACT)
            ),
        )
        return self._scaled(merged, variance, torch.ones(kernel.shape[0]), projection.bias)

    def _centre(self, maps: Node, channels: int) -> tuple[Node, Node]:
        """Subtract the mean of each position; returns the rest and the mean (batch, 1, H, W)."""
        mean = self.convolve(maps, torch.full((1, channels, 1, 1), 1 / channels, dtype=_EXACT))
        off = self.convolve(mean, -torch.ones(channels, 1, 1, 1))
        return self._insert(aten.add.Tensor, maps, off), mean

    def _scaled(self, maps: Node, variance: Node, gain: Tensor, shift: Tensor | None) -> Node:
        root = self._insert(aten.sqrt.default, variance)
        quotient = self._insert(aten.reciprocal.default, root)
        spread = self.convolve(quotient, gain[:, None, None, None])
        out = self._insert(aten.mul.Tensor, maps, spread)
        if shift is None:
            return out
        # A convolution that outputs its bias: ONNX Runtime fuses its sum with a feature map.
        zeros = torch.zeros(len(shift), 1, 1, 1)
        return self._insert(aten.add.Tensor, out, self.convolve(quotient, zeros, shift))

    def _square(self, maps: Node) -> Node:
        return self._insert(aten.mul.Tensor, maps, maps)

    def _insert(self, operator: object, *args: object) -> Node:
        return self._editor.insert(self._like, operator, *args)


def cell_kernel(weight: Tensor, cell: list[tuple[int, int]]) -> Tensor:
    """Turn weights (outputs, k*k*C) of the positions of a cell into a kernel (outputs, C, k, k)."""
    side = 1 + max(row for row, _ in cell)
    parts = weight.unflatten(1, (len(cell), -1))
    kernel = weight.new_empty(weight.shape[0], parts.shape[2], side, side)
    for place, (row, column) in enumerate(cell):
        kernel[:, :, row, column] = parts[:, place]
    return kernel
