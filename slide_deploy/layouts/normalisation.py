"""Write normalisations over channels as convolutions, so that feature maps keep the NCHW layout.

    y = x - mean(x),     y / sqrt(mean(y^2) + epsilon)

A mean over the channels is a convolution to one channel, and another convolution broadcasts it to
all channels. The mean is subtracted first, because it may be far larger than the deviation.
"""

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import shape

aten = torch.ops.aten

# Constants are computed in this type and rounded once, to the type of the feature maps.
_EXACT = torch.float64


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

    def convolve(self, maps: Node, weight: Tensor, bias: Tensor | None = None) -> Node:
        """Insert a convolution without padding; weight (outputs, inputs, 1, 1)."""
        constants = [
            None if each is None else self._editor.constant(each.to(self._dtype), name)
            for each, name in ((weight, "weight"), (bias, "bias"))
        ]
        return self._insert(aten.conv2d.default, maps, *constants)

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
        mean = torch.full((1, channels, 1, 1), 1 / channels, dtype=_EXACT)
        if not is_centred:
            off = self.convolve(self.convolve(maps, mean), -torch.ones(channels, 1, 1, 1))
            maps = self._insert(aten.add.Tensor, maps, off)
        square = self._insert(aten.mul.Tensor, maps, maps)
        variance = self.convolve(square, mean, torch.tensor([epsilon], dtype=_EXACT))
        root = self._insert(aten.sqrt.default, variance)
        quotient = self._insert(aten.reciprocal.default, root)
        gain = torch.ones(channels) if weight is None else weight
        spread = self.convolve(quotient, gain[:, None, None, None])
        out = self._insert(aten.mul.Tensor, maps, spread)
        if bias is None:
            return out
        # A convolution that outputs its bias: ONNX Runtime fuses its sum with a feature map.
        zeros = torch.zeros(len(bias), 1, 1, 1)
        return self._insert(aten.add.Tensor, out, self.convolve(quotient, zeros, bias))

    def _insert(self, operator: object, *args: object) -> Node:
        return self._editor.insert(self._like, operator, *args)
