"""Read ATen operators as convolutions, factors and biases per channel, and sums."""

import itertools
import math
import operator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.branches.kernels import Kernel, diagonal, identity
from slide_deploy.branches.shapes import Axes, Shape, pointwise
from slide_deploy.branches.steps import Blocked, BranchStep, Sum, is_map, stripped
from slide_deploy.program.constants import Constants
from slide_deploy.program.movement import DROPOUTS
from slide_deploy.program.traced import Call, call, same_shape, same_size, shape

_CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3, "convolution": None}
_TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
_POOLS = {"avg_pool1d": 1, "avg_pool2d": 2, "avg_pool3d": 3}
_NORMALISATIONS = {"batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm"}
_NORMALISATIONS |= {"_native_batch_norm_legit", "cudnn_batch_norm", "_batch_norm_no_update"}
_END = 2**63 - 1  # the end of a slice that has none


class OperatorSteps:
    """Reads the operators of one program.

    Args:
        constants: constants of the program.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def of(self, node: Node) -> BranchStep | Sum | Blocked | None:
        """Classify an operator; None if it is no step and no sum, or if it changes the type."""
        step = self._of(node)
        operands = (
            [each for each, _ in step.addends]
            if isinstance(step, Sum)
            else []
            if step is None
            else [step.operand]
        )
        types = {each.meta["val"].dtype for each in (node, *operands) if is_map(each)}
        return step if len(types) == 1 and all(map(is_map, operands)) else None

    def _of(self, node: Node) -> BranchStep | Sum | Blocked | None:
        if node.target is operator.getitem and node.args[1] == 0:
            inner = call(node.args[0])
            if inner is None or inner.name not in _NORMALISATIONS:
                return None
            return self._normalisation(inner, node)
        found = call(node)
        if found is None or not is_map(node):
            return None
        return self._read(found)

    def _read(self, found: Call) -> BranchStep | Sum | Blocked | None:
        name, node = found.name, found.node
        if name in _CONVOLUTIONS:
            return self._convolution(found)
        if name in _TRANSPOSED:
            return _blocked(found.arguments["input"], "its convolution is transposed")
        if name in _NORMALISATIONS:
            return self._normalisation(found, node)
        if name in _POOLS:
            return _pooling(found)
        if name in ("pad", "constant_pad_nd", "slice"):
            return _padding(found)
        if name in ("add", "sub", "rsub"):
            return self._addition(found)
        if name in ("mul", "div"):
            return self._multiplication(found)
        if name == "neg":
            return self._scaled(found.arguments["self"], node, -1.0, 0.0)
        if name in ("sum", "mean"):
            return _stacked(found)
        if name in DROPOUTS:
            return _blocked(found.arguments["input"], "its dropout is active")
        return None

    def _convolution(self, found: Call) -> BranchStep | Blocked | None:
        given = found.arguments
        operand, weight, bias = stripped(given["input"]), given["weight"], given["bias"]
        sizes = shape(weight)
        axes = len(sizes) - 2
        if len(shape(operand)) != axes + 2 or not 1 <= axes <= 3:
            return None
        if given.get("transposed"):
            return _blocked(operand, "its convolution is transposed")
        if not self._constants.holds(weight) or (
            bias is not None and not self._constants.holds(bias)
        ):
            return _blocked(operand, "its weights depend on the input")
        taps, dilation = sizes[2:], _each(given["dilation"], axes)
        pads = _pads(given["padding"], taps, dilation)
        if pads is None:
            return None
        closed = (*sizes, *_each(given["stride"], axes), *dilation, *itertools.chain(*pads))
        if not all(isinstance(each, int) for each in closed):
            return None
        outputs, inputs = sizes[:2]
        groups = given["groups"]
        ours = Shape(
            inputs=int(inputs) * groups,
            outputs=int(outputs),
            groups=groups,
            taps=tuple(map(int, taps)),
            stride=_each(given["stride"], axes),
            # A single tap has no neighbour, so its dilation has no meaning.
            dilation=tuple(
                step if size > 1 else 1 for step, size in zip(dilation, taps, strict=True)
            ),
            before=tuple(before for before, _ in pads),
            after=tuple(after for _, after in pads),
        )

        def kernel() -> Kernel:
            numbers = self._constants.value(weight)
            added = None if bias is None else self._constants.value(bias)
            assert numbers is not None
            zeros = numbers.new_zeros(len(numbers))
            return Kernel(ours, numbers, zeros if added is None else added)

        return BranchStep(operand, found.node, ours, kernel, "convolution")

    def _normalisation(self, found: Call, node: Node) -> BranchStep | Blocked | None:
        given = found.arguments
        if not isinstance(given["input"], Node):
            return None
        operand = stripped(given["input"])
        if not is_map(operand):
            return None
        mean, variance = given.get("running_mean"), given.get("running_var")
        is_training = given.get("training", given.get("train", False))
        if is_training or mean is None or variance is None:
            return Blocked(operand, "its batch normalisation uses the statistics of each batch")
        weight, bias, axes = given["weight"], given["bias"], len(shape(operand)) - 2
        statistics = (mean, variance, weight, bias)
        if not all(each is None or self._constants.holds(each) for each in statistics):
            return Blocked(operand, "its normalisation depends on the input")
        epsilon = given.get("eps", given.get("epsilon"))

        def kernel() -> Kernel:
            centre, spread, gamma, beta = map(self._constants.value, statistics)
            assert centre is not None
            assert spread is not None
            factor = 1 / torch.sqrt(spread + epsilon)
            factor = factor if gamma is None else factor * gamma
            shift = -centre * factor
            return diagonal(factor, shift if beta is None else shift + beta, axes)

        channels = shape(mean)[0]
        if not isinstance(channels, int):
            return None
        return BranchStep(operand, found.node, pointwise(channels, axes), kernel, "normalisation")

    def _addition(self, found: Call) -> BranchStep | Sum | None:
        """``a + alpha b``, ``a - alpha b`` or, as rsub, ``b - alpha a``."""
        given, alpha = found.arguments, found.arguments.get("alpha", 1)
        one, other = given["self"], given["other"]
        if not isinstance(alpha, int | float):
            return None
        factors = {"add": (1, alpha), "sub": (1, -alpha), "rsub": (-alpha, 1)}[found.name]
        for value, constant, (factor, of_constant) in (
            (one, other, factors),
            (other, one, factors[::-1]),
        ):
            if self._is_constant(constant):
                return self._scaled(value, found.node, factor, constant, of_constant)
        if not same_shape(one, found.node) or not same_shape(other, found.node):
            return None
        addends = tuple(
            (stripped(each), float(factor))
            for each, factor in zip((one, other), factors, strict=True)
        )
        return Sum(addends, found.node)

    def _multiplication(self, found: Call) -> BranchStep | Blocked | None:
        one, other = found.arguments["self"], found.arguments["other"]
        if found.arguments.get("rounding_mode") is not None:
            return None
        if self._is_constant(other):
            return self._scaled(one, found.node, other, 0.0, is_divided=found.name == "div")
        if found.name == "mul" and self._is_constant(one):
            return self._scaled(other, found.node, one, 0.0)
        for value, factor in ((one, other), (other, one)):
            # A number per channel, as in squeeze-and-excitation.
            sizes = shape(factor)
            is_factor = len(sizes) > 2 and all(same_size(each, 1) for each in sizes[2:])
            if is_factor and same_shape(value, found.node):
                return _blocked(value, "its factors depend on the input")
        return None

    def _is_constant(self, value: object) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number or self._constants.holds(value)

    def _scaled(
        self,
        value: object,
        node: Node,
        factor: object,
        bias: object,
        of_bias: float = 1,
        is_divided: bool = False,
    ) -> BranchStep | None:
        """Read ``factor * value + of_bias * bias``, where each is a number or one per channel."""
        if not isinstance(value, Node) or not same_shape(value, node):
            return None
        sizes = shape(value)
        channels, axes = sizes[1], len(sizes) - 2
        if not isinstance(channels, int):
            return None
        if not all(_is_for_each_channel(each, channels, axes) for each in (factor, bias)):
            return None

        def numbers(of: object) -> Tensor:
            held = (
                self._constants.value(of)
                if isinstance(of, Node)
                else torch.tensor(of, dtype=torch.float64)
            )
            assert held is not None
            return held.double().reshape(-1).expand(channels)

        def kernel() -> Kernel:
            factors = 1 / numbers(factor) if is_divided else numbers(factor)
            return diagonal(factors, of_bias * numbers(bias), axes)

        return BranchStep(stripped(value), node, pointwise(channels, axes), kernel, "factor")


def _is_for_each_channel(constant: object, channels: int, axes: int) -> bool:
    """Whether a constant is one number, or one per channel of feature maps."""
    if not isinstance(constant, Node):
        return True
    sizes = shape(constant)
    place = len(sizes) - axes - 1
    return len(sizes) <= axes + 2 and all(
        size == 1 or (axis == place and size == channels) for axis, size in enumerate(sizes)
    )


def _blocked(operand: object, why: str) -> Blocked | None:
    return Blocked(stripped(operand), why) if isinstance(operand, Node) else None


def _each(given: Any, axes: int) -> tuple[int, ...]:
    """Expand an argument to one number per axis."""
    given = [given] if isinstance(given, int) else list(given)
    return tuple(given * axes if len(given) == 1 else given)


def _pads(given: Any, taps: Any, dilation: Axes) -> list[tuple[int, int]] | None:
    """Zeros before and after each axis; None if they are unknown."""
    if given == "valid":
        return [(0, 0)] * len(taps)
    if given == "same":
        # If the number of zeros is odd, the extra one comes last.
        totals = [step * (size - 1) for size, step in zip(taps, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    if isinstance(given, str):
        return None
    return [(each, each) for each in _each(given, len(taps))]


def _pooling(found: Call) -> BranchStep | Blocked | None:
    given, axes = found.arguments, _POOLS[found.name]
    operand = stripped(given["self"])
    sizes = shape(operand)
    if len(sizes) != axes + 2:
        return None
    taps = _each(given["kernel_size"], axes)
    stride = _each(given["stride"], axes) if given["stride"] else taps
    pads = _each(given["padding"], axes)
    divisor = given.get("divisor_override")
    if given["ceil_mode"]:
        return Blocked(operand, "its average pooling rounds sizes up")
    if any(pads) and not given["count_include_pad"] and divisor is None:
        return Blocked(operand, "its average pooling does not count its padding")
    channels = sizes[1]
    if not isinstance(channels, int):
        return None
    ones = (1,) * axes
    ours = Shape(channels, channels, channels, taps, stride, ones, pads, pads)
    share = 1 / (divisor or math.prod(taps))

    def kernel() -> Kernel:
        weight = torch.full((channels, 1, *taps), share, dtype=torch.float64)
        return Kernel(ours, weight, torch.zeros(channels, dtype=torch.float64))

    return BranchStep(operand, found.node, ours, kernel, "pooling")


def _padding(found: Call) -> BranchStep | Blocked | None:
    """Read zero padding of feature maps, or a slice that crops their ends."""
    given, operand = found.arguments, stripped(found.arguments["self"])
    sizes = shape(operand)
    axes = len(sizes) - 2
    before, after = [0] * axes, [0] * axes
    if found.name == "slice":
        place, start, end = given["dim"] % len(sizes) - 2, given["start"] or 0, given["end"]
        end = _END if end is None else end
        numbers = (place, start, end, given["step"])
        if not all(isinstance(each, int) for each in numbers) or given["step"] != 1:
            return None
        if place < 0 or start < 0 or 0 <= end < _END:
            return None
        before[place], after[place] = -start, 0 if end == _END else end
    else:
        pads = given["pad"]
        if given.get("mode", "constant") != "constant" or (given["value"] or 0) != 0:
            return Blocked(operand, "it pads with values other than zero")
        if len(pads) > 2 * axes or not all(isinstance(each, int) for each in pads):
            return None
        for index, each in enumerate(pads):  # from the last axis on, before and after
            (after if index % 2 else before)[axes - 1 - index // 2] = each
    channels = sizes[1]
    assert isinstance(channels, int)
    ones = (1,) * axes
    ours = Shape(channels, channels, channels, ones, ones, ones, tuple(before), tuple(after))

    def kernel() -> Kernel:
        plain = identity(channels, axes)
        return Kernel(ours, plain.weight, plain.bias)

    return BranchStep(operand, found.node, ours, kernel, "padding")


def _stacked(found: Call) -> Sum | None:
    """Read the sum or the mean of a stack that nothing else reads."""
    given = found.arguments
    stack = call(given["self"])
    if stack is None or stack.name != "stack" or len(stack.node.users) != 1:
        return None
    axis, rank = stack.arguments["dim"], len(shape(stack.node))
    axes = given.get("dim")
    if given.get("keepdim") or given.get("dtype") is not None or not axes or len(axes) != 1:
        return None
    if axes[0] % rank != axis % rank:
        return None
    values = stack.arguments["tensors"]
    factor = 1.0 if found.name == "sum" else 1 / len(values)
    return Sum(tuple((stripped(each), factor) for each in values), stack.node, (stack.node,))
