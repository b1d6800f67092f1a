"""Measure a merged convolution against the operators that it replaces."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.branches.kernels import Kernel
from slide_deploy.branches.shapes import Shape
from slide_deploy.branches.steps import is_same
from slide_deploy.branches.terms import Values
from slide_deploy.folding.formulas import difference
from slide_deploy.program.constants import Constants
from slide_deploy.program.traced import evaluated, shape

# The allowed loss from rounding the merged weights, relative to what the original layers lose by
# computing in their own type. Over nine kinds of blocks, with variances of normalisations from 0
# to 1e6 and means up to 1e4, the ratio was at most 0.42.
ROUNDINGS = 2.0


@dataclass(frozen=True)
class Measured:
    """How far a merged convolution is from the operators that it replaces.

    All figures are largest differences, relative to the largest value where that exceeds 1, on
    random feature maps with an interior and borders.

    Attributes:
        error: both in float64.
        rounding: both in float64, after the new weights are rounded to the program's type.
        before: the original operators in the program's type against those in float64.
    """

    error: float
    rounding: float
    before: float


@torch.no_grad()
def measure(
    terms: Sequence[tuple[Node, float]],
    source: Node,
    kernel: Kernel,
    values: Values,
    constants: Constants,
) -> Measured:
    """Compare a convolution with a sum of values.

    Args:
        terms: the values, each with its factor.
        source: the value that they are computed from.
        kernel: the merged convolution of the source.
        values: values of the program; the operators between source and terms are run.
        constants: constants of the program.
    """
    dtype = source.meta["val"].dtype
    generator = torch.Generator().manual_seed(0)
    sizes = (1, kernel.shape.inputs, *_sizes(source, kernel.shape))
    maps = torch.randn(sizes, generator=generator, dtype=torch.float64)

    numbers: dict[Node, Tensor | None] = {}

    def run(of: torch.dtype) -> Tensor:
        runner = _Runner(source, maps.to(of), values, constants, numbers)
        parts = [factor * runner(node).double() for node, factor in terms]
        return torch.stack(parts).sum(0)

    exact = run(torch.float64)
    return Measured(
        error=difference(kernel(maps), exact),
        rounding=difference(kernel.rounded(dtype)(maps), exact),
        before=difference(run(dtype), exact),
    )


def _sizes(source: Node, of: Shape) -> list[int]:
    """Sizes at which every tap reads positions inside and, where it pads, outside."""
    sizes = []
    for axis, held in enumerate(shape(source)[2:]):
        pad, stride = of.before[axis], of.stride[axis]
        reach = of.last[axis] - of.first[axis]
        size = max(pad, reach - pad, reach - 2 * pad) + 2 * stride + 1
        if isinstance(held, int):  # equal output sizes may depend on the remainder
            size += (held - size) % stride
        sizes.append(size)
    return sizes


class _Runner:
    """Runs the operators between a source and a value."""

    def __init__(
        self,
        source: Node,
        maps: Tensor,
        values: Values,
        constants: Constants,
        numbers: dict[Node, Tensor | None],
    ) -> None:
        self._values, self._constants, self._numbers = values, constants, numbers
        self._source, self._maps = source, maps
        self._known: dict[Node, Any] = {}

    def __call__(self, node: Node) -> Tensor:
        value = self._of(node)
        assert isinstance(value, Tensor)
        return value

    def _of(self, node: Node) -> Any:
        if self._values.first(node) == self._source:
            return self._maps
        if is_same(node):
            return self._of(node.all_input_nodes[0])
        if node not in self._known:
            if node not in self._numbers:
                self._numbers[node] = self._constants.value(node)
            constant = self._numbers[node]
            if constant is not None:
                is_float = constant.is_floating_point()
                self._known[node] = constant.to(self._maps.dtype) if is_float else constant
            else:
                self._known[node] = evaluated(node, self._of)
        return self._known[node]


def is_small(measured: Measured, dtype: torch.dtype) -> bool:
    """Whether rounding the weights costs no more than ``ROUNDINGS`` allows."""
    if dtype == torch.float64:
        return True  # nothing is rounded
    limit = ROUNDINGS * max(measured.before, torch.finfo(dtype).eps)
    return math.isfinite(measured.rounding) and measured.rounding <= limit
