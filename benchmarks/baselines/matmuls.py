"""A network's matrix products and nothing else: what is left when all else costs nothing.

The products are read from the network as ``torch.export`` traces it: projections, the products of
its attentions with each other, and dense convolutions, which multiply the pixels under the kernel,
side by side for every position, by their weights. Depthwise convolutions are none.

Each multiplies an input of the size that it has there by weights of its own, or by an input of its
own. Inputs come from outside, and no two products have both sides in common, so that no runtime can
leave one away. Of each result only the first row goes out: whole results would all have to stay in
memory until the end, which no network asks for and which takes a tenth of the time. Normalisation,
activations, softmax, slide attention's neighbours and all movement of data are gone.
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
    """One matrix product.

    Attributes:
        left: shape of what comes in, (1, rows, inputs) or (1, matrices, rows, inputs).
        right: shape of the weights, (inputs, outputs), or of the other input, (1, matrices,
            inputs, outputs).
        learned: whether the right side is a weight.
    """

    left: Shape
    right: Shape
    learned: bool


class MatrixProducts(nn.Module):
    """The products of a network.

    Args:
        products: in the order of the network.

    Attributes:
        shapes: of the inputs: what stands on the left, each shape once; then what stands on the
            right of every product that has no weights.
    """

    def __init__(self, products: tuple[MatmulSize, ...]) -> None:
        super().__init__()
        self.products = products
        self._lefts = tuple(dict.fromkeys(each.left for each in products))
        rights = (each.right for each in products if not each.learned)
        self.shapes = (*self._lefts, *rights)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(each.right) * each.right[0] ** -0.5)
            for each in products
            if each.learned
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Multiply: one input for each of ``shapes``; the first row, or matrix, of each result."""
        count = len(self._lefts)
        given = dict(zip(self._lefts, inputs[:count], strict=True))
        rights, weights = iter(inputs[count:]), iter(self.weights)
        return tuple(
            (given[each.left] @ next(weights if each.learned else rights))[:, :1]
            for each in self.products
        )


def matmuls_of(model: nn.Module, image: Tensor) -> tuple[MatmulSize, ...]:
    """What a network multiplies for one image (1, channels, height, width), in its order."""
    traced = Traced(torch.export.export(model, (image,)))
    return tuple(found for each in traced.calls() for found in _products(traced, each))


def _products(traced: Traced, each: Call) -> Iterator[MatmulSize]:
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
