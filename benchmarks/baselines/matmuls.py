"""The matmuls of a network alone: a lower bound of its time, as if all else were free.

They are read from the program that ``torch.export`` traces: projections, q kᵀ and attention · v,
and dense convolutions, written as im2col matrices times weights. Depthwise convolutions,
normalisation, activations, softmax, slide attention's neighbours and all data movement are left
out.

Each matmul has the sizes that it has in the network. Its right side is a weight or an input of its
own, and no two matmuls share both sides, so that no runtime can remove one. Only the first row of
each result is an output. Whole results would have to stay in memory until the end, which no network
requires and which takes a tenth of the time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slide_deploy.program.traced import Call, Traced, shape

Shape = tuple[int, ...]


@dataclass(frozen=True)
class MatmulSize:
    """Shapes of one matmul.

    Attributes:
        left: Shape of the left side, (1, rows, inputs) or (1, matrices, rows, inputs).
        right: Shape of the weight, (inputs, outputs), or of the right input, (1, matrices,
            inputs, outputs).
        learned: Whether the right side is a weight.
    """

    left: Shape
    right: Shape
    learned: bool


class Matmuls(nn.Module):
    """The matmuls of a network.

    Args:
        sizes: Shapes in the order of the network.

    Attributes:
        shapes: Shapes of the inputs: the distinct left sides, then the right side of every matmul
            without a weight.
    """

    def __init__(self, sizes: tuple[MatmulSize, ...]) -> None:
        super().__init__()
        self.sizes = sizes
        self._lefts = tuple(dict.fromkeys(each.left for each in sizes))
        rights = (each.right for each in sizes if not each.learned)
        self.shapes = (*self._lefts, *rights)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(each.right) * each.right[0] ** -0.5)
            for each in sizes
            if each.learned
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Multiply inputs of ``shapes`` and return the first row, or matrix, of each result."""
        count = len(self._lefts)
        given = dict(zip(self._lefts, inputs[:count], strict=True))
        rights, weights = iter(inputs[count:]), iter(self.weights)
        return tuple(
            (given[each.left] @ next(weights if each.learned else rights))[:, :1]
            for each in self.sizes
        )


def matmuls_of(model: nn.Module, image: Tensor) -> tuple[MatmulSize, ...]:
    """Return the matmuls of a network for one image (1, channels, height, width), in order."""
    traced = Traced(torch.export.export(model, (image,)))
    return tuple(found for each in traced.calls() for found in _matmuls(traced, each))


def _matmuls(traced: Traced, each: Call) -> Iterator[MatmulSize]:
    results = math.prod(_sizes(each.node))
    if each.name == "linear":
        outputs, inputs = _sizes(each.arguments["weight"])
        yield _learned(results // outputs, inputs, outputs)
    elif each.name.startswith("conv") and each.arguments["groups"] == 1:
        outputs, *kernel = _sizes(each.arguments["weight"])
        yield _learned(results // outputs, math.prod(kernel), outputs)
    elif each.name == "matmul":
        (*_, rows, inputs), (*_, outputs) = (_sizes(each.arguments[x]) for x in ("self", "other"))
        if each.arguments["other"] in traced.constant:
            yield _learned(results // outputs, inputs, outputs)
        else:
            matrices = results // (rows * outputs)
            left, right = (1, matrices, rows, inputs), (1, matrices, inputs, outputs)
            yield MatmulSize(left, right, learned=False)


def _sizes(node: object) -> list[int]:
    return [int(size) for size in shape(node)]


def _learned(rows: int, inputs: int, outputs: int) -> MatmulSize:
    return MatmulSize((1, rows, inputs), (inputs, outputs), learned=True)
