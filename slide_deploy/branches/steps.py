"""Define how a single operator takes part in a merge: as a step, as a sum or not at all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.fx import Node

from slide_deploy.branches.kernels import Kernel
from slide_deploy.branches.shapes import Shape
from slide_deploy.program import movement
from slide_deploy.program.traced import call, shape


@dataclass(frozen=True)
class BranchStep:
    """An operator as a convolution of its operand.

    Attributes:
        operand: the value that it reads.
        reader: the node that reads the operand.
        shape: shape of the convolution.
        kernel: computes its weights.
        role: "convolution", "normalisation", "pooling", "factor" or "padding".
    """

    operand: Node
    reader: Node
    shape: Shape
    kernel: Callable[[], Kernel]
    role: str

    @property
    def is_part(self) -> bool:
        """Whether it counts as a merged layer; padding does not."""
        return self.role != "padding"

    @property
    def cost(self) -> int:
        """Multiplications per output position."""
        return self.shape.weights if self.role in ("convolution", "pooling") else 0


@dataclass(frozen=True)
class Sum:
    """An operator as a sum.

    Attributes:
        addends: the added values, each with its factor.
        reader: the node that reads them.
        also: further nodes that belong to the sum.
    """

    addends: tuple[tuple[Node, float], ...]
    reader: Node
    also: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Blocked:
    """An operator that would be a step if it were not for one reason.

    Attributes:
        operand: the value that it reads.
        why: the reason, as a clause.
    """

    operand: Node
    why: str


def is_same(node: Node) -> bool:
    """Whether a node returns its first argument unchanged, in the same type."""
    found = call(node)
    if found is None or not node.args or not isinstance(node.args[0], Node):
        return False
    if found.name in ("add", "sub") and found.arguments["other"] in (0, 0.0):  # as sum() begins
        ours, theirs = (each.meta["val"] for each in (node, node.args[0]))
        return bool(ours.dtype == theirs.dtype)
    return movement.is_same(found)


def stripped(node: Node) -> Node:
    """Skip operators that change nothing and return the value that they read."""
    while is_same(node):
        (node, *_) = node.all_input_nodes
    return node


def is_map(node: object) -> bool:
    """Whether a value is a batch of floating-point feature maps with a known number of channels."""
    sizes = shape(node)
    if not isinstance(node, Node) or not 3 <= len(sizes) <= 5 or not isinstance(sizes[1], int):
        return False
    return bool(sizes[1] > 0 and node.meta["val"].is_floating_point())


def linear_part(kernel: Callable[[], Kernel]) -> Callable[[], Kernel]:
    """The same convolution without its bias."""
    return partial(_without_bias, kernel)


def _without_bias(kernel: Callable[[], Kernel]) -> Kernel:
    full = kernel()
    return Kernel(full.shape, full.weight, torch.zeros_like(full.bias))
