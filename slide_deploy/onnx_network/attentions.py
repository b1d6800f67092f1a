"""Cut subgraphs that may be slide attentions out of a graph, each as a module of its own.

The search starts at every softmax over k*k neighbours:

    y    the first value behind the output projection, of the size of x
    x    the last value that all paths from the inputs to y cross, in front of the projections

Whether the subgraph between them is a slide attention is not decided here: ``foreign.recognise``
reads it and proves it.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import Tensor, nn

from slide_deploy.foreign.calls import AttentionCall, Size
from slide_deploy.onnx_network.building import GraphParts, assemble, path_of, unique
from slide_deploy.onnx_network.cut_attention import CutAttention, is_local
from slide_deploy.onnx_network.module import GraphStep

Shapes = Mapping[str, tuple[int, ...]]

# Operators that multiply by a matrix, unless ``building`` has made a layer of them.
_PRODUCTS = ("MatMul", "Einsum", "Gemm")

# Operators that only move or reshape values.
_MOVEMENTS = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity")


@dataclass(frozen=True)
class UncutAttention:
    """A softmax over neighbours whose subgraph cannot be cut out.

    Attributes:
        name: name of the softmax.
        reason: why, as a clause.
    """

    name: str
    reason: str


class _CannotCut(Exception):
    """A subgraph cannot be cut out. The message is a clause."""


def cut_attentions(
    parts: GraphParts, shapes: Shapes, is_batch_open: bool
) -> tuple[UncutAttention, ...]:
    """Replace the subgraphs that may be slide attentions by modules.

    Args:
        parts: the graph; it is changed.
        shapes: shapes of its values in a run.
        is_batch_open: whether the graph takes any batch size.

    Returns:
        What looks like a slide attention and was left.
    """
    left = []
    for softmax in [step for step in parts.steps if _is_over_neighbours(step, shapes)]:
        try:
            _Cut(parts, shapes, softmax, is_batch_open).replace()
        except _CannotCut as error:
            if not _is_square(shapes[softmax.inputs[0]]):
                left.append(UncutAttention(softmax.name, str(error)))
    return tuple(left)


def _is_over_neighbours(step: GraphStep, shapes: Shapes) -> bool:
    if step.operator != "Softmax" or step.inputs[0] not in shapes:
        return False
    size = shapes[step.inputs[0]][_axis(step)]
    side = math.isqrt(size)
    return side * side == size and side % 2 == 1 and side > 1


def _is_square(logits: tuple[int, ...]) -> bool:
    """Whether logits have as many queries as keys, as those of an attention over a window."""
    return len(logits) > 1 and logits[-1] == logits[-2]


def _axis(softmax: GraphStep) -> int:
    default = -1 if softmax.attributes["opset"] >= 13 else 1
    return int(softmax.attributes.get("axis", default))


def _is_matrix(constant: object) -> bool:
    return isinstance(constant, Tensor) and constant.dim() > 1


class _Cut:
    """The subgraph around one softmax."""

    def __init__(
        self, parts: GraphParts, shapes: Shapes, softmax: GraphStep, is_batch_open: bool
    ) -> None:
        self.parts, self.shapes, self.softmax = parts, shapes, softmax
        self.is_batch_open = is_batch_open
        self.readers: dict[str, list[GraphStep]] = {}
        for step in parts.steps:
            for name in dict.fromkeys(step.inputs):
                self.readers.setdefault(name, []).append(step)

    def replace(self) -> None:
        """Replace the subgraph by a module.

        Raises:
            _CannotCut: if it cannot be delimited.
        """
        for y in self._ends():
            for x in self._starts(y):
                steps = self._between(x, y)
                if steps is not None:
                    self._replace(x, y, steps)
                    return
        raise _CannotCut("no value before it and no value behind it delimit an attention")

    def _ends(self) -> list[str]:
        """Return the values behind the output projection that may be the output, in order."""
        found: list[str] = []
        name, projected = self.softmax.outputs[0], False
        while len(readers := self.readers.get(name, [])) == 1 and name not in self.parts.outputs:
            (step,) = readers
            if projected and step.operator not in _MOVEMENTS and not self._adds_constant(step):
                break
            projected = projected or self._is_projection(step)
            name = step.outputs[0]
            if projected:
                found.append(name)
        return found

    def _adds_constant(self, step: GraphStep) -> bool:
        return step.operator == "Add" and any(name in self.parts.constants for name in step.inputs)

    def _is_projection(self, step: GraphStep) -> bool:
        """Whether a step multiplies the channels of every position by a constant matrix."""
        if step.operator in _PRODUCTS:
            return any(_is_matrix(self.parts.constants.get(name)) for name in step.inputs)
        layer = self.parts.layers.get(step.layer)
        return isinstance(layer, nn.Linear) or (
            isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1
        )

    def _starts(self, y: str) -> list[str]:
        """Return the values that may be the input, the nearest first."""
        passed: dict[str, frozenset[str]] = {name: frozenset((name,)) for name in self.parts.inputs}
        for step in self.parts.steps:
            paths = [passed[name] for name in step.inputs if name in passed]
            common = frozenset.intersection(*paths) if paths else frozenset()
            for name in step.outputs:
                passed[name] = common | {name}
            if y in step.outputs:
                break
        order = {name: place for place, name in enumerate(passed)}
        gates = sorted(passed[y] - {y}, key=order.__getitem__, reverse=True)
        sizes = self.shapes[y]
        return [
            name
            for name in gates
            if len(self.shapes.get(name, ())) == len(sizes) in (3, 4) and self.shapes[name] == sizes
        ]

    def _between(self, x: str, y: str) -> list[GraphStep] | None:
        """Return the steps between two values; None if they do not make up an attention."""
        needed = {y}
        steps: list[GraphStep] = []
        for step in reversed(self.parts.steps):
            if needed.intersection(step.outputs) and x not in step.outputs:
                steps.append(step)
                needed.update(name for name in step.inputs if name and name != x)
        steps.reverse()
        made = {name for step in steps for name in step.outputs}
        if self.softmax.outputs[0] not in made or not needed <= made | set(self.parts.constants):
            return None  # it reads another value
        for name in made - {y}:
            readers = self.readers.get(name, [])
            if name in self.parts.outputs or any(made.isdisjoint(each.outputs) for each in readers):
                return None  # its intermediates are read elsewhere
        before = self._before_softmax(steps)
        return steps if any(self._is_projection(step) for step in before) else None

    def _before_softmax(self, steps: Sequence[GraphStep]) -> list[GraphStep]:
        needed = set(self.softmax.inputs)
        found = []
        for step in reversed(steps):
            if needed.intersection(step.outputs):
                found.append(step)
                needed.update(step.inputs)
        return found

    def _replace(self, x: str, y: str, steps: Sequence[GraphStep]) -> None:
        name, batch = unique(self._name(steps), set(self.parts.layers)), self.shapes[x][0]
        inside = _subgraph(self.parts, steps, name)
        if not self.is_batch_open and batch > 1:
            inside.steps = [_with_open_batch(inside, step, batch) for step in inside.steps]
        module = assemble(CutAttention, inside, (x,), (y,), inside.steps)
        assert isinstance(module, CutAttention)
        layout, size = self._layout(x, steps)
        module.batch = 1 if batch == 1 and not self.is_batch_open else None
        module.channels = self.shapes[x][1 if layout == "nchw" else -1]
        module.scale = self._scale(self._before_softmax(steps))
        signature = inspect.signature(module.forward)
        module.call = AttentionCall(signature, layout, ("resolution",), "attribute", bound=size)
        if not is_local(module.eval(), math.isqrt(self._neighbours()) // 2):
            return  # an attention over a window, which has as many positions
        self.parts.layers[name] = module
        made = {step.outputs[0] for step in steps}
        self.parts.steps = [
            GraphStep("", name, (x,), (y,), layer=name) if step.outputs[0] == y else step
            for step in self.parts.steps
            if step.outputs[0] == y or step.outputs[0] not in made
        ]

    def _scale(self, steps: Sequence[GraphStep]) -> float:
        """Return the product of the numbers that the steps multiply and divide by."""
        scale = 1.0
        for step in steps:
            for name in step.inputs if step.operator in ("Mul", "Div") else ():
                constant = self.parts.constants.get(name)
                if isinstance(constant, np.ndarray) and constant.size == 1:
                    number = float(constant.ravel()[0])
                    scale = scale * number if step.operator == "Mul" else scale / number
        return scale

    def _neighbours(self) -> int:
        return self.shapes[self.softmax.inputs[0]][_axis(self.softmax)]

    def _layout(
        self, x: str, steps: Sequence[GraphStep]
    ) -> tuple[Literal["nchw", "nhwc", "tokens"], Size]:
        """Return the layout of the input, and the height and width of its feature map."""
        sizes = self.shapes[x]
        maps = [(each[-2], each[-1]) for each in self._feature_maps(steps)]
        if len(sizes) == 3:
            for height, width in maps:
                if height * width == sizes[1]:
                    return "tokens", (height, width)
            raise _CannotCut("the height and width of its feature map are unknown")
        first = next(step for step in steps if self._is_projection(step))
        by_convolution = isinstance(self.parts.layers.get(first.layer), nn.Conv2d)
        in_the_end, inside = sizes[2:] in maps, sizes[1:3] in maps
        if in_the_end and (by_convolution or not inside):
            return "nchw", (sizes[2], sizes[3])
        return "nhwc", (sizes[1], sizes[2])

    def _feature_maps(self, steps: Sequence[GraphStep]) -> list[tuple[int, ...]]:
        """Return the shapes of values whose last axes may be height and width.

        Those that neighbours are gathered from come first.
        """
        shapes = [
            (self.shapes[step.inputs[0]], self._is_projection(step) or not step.layer)
            for step in steps
            if len(self.shapes.get(step.inputs[0], ())) >= 4
        ]
        return [shape for shape, _ in sorted(shapes, key=lambda each: each[1])]

    def _name(self, steps: Sequence[GraphStep]) -> str:
        """Return what the names of its projections have in common, or those of all its weights.

        Kernels may be shared with another attention, so that their names come second. The name of
        its softmax is the last resort.
        """
        projections = [step.layer for step in steps if step.layer and self._is_projection(step)]
        layers = [step.layer for step in steps if "/" in step.layer]
        read = [name for step in steps for name in step.inputs if name in self.parts.constants]
        weights = [path_of(name) for name in read if "." in name.strip(".")]
        return (
            _common_path(projections)
            or _common_path([*layers, *weights])
            or path_of(self.softmax.name)
            or "attention"
        )


def _common_path(names: Sequence[str]) -> str:
    """Return the first components that several names have in common."""
    common = []
    for parts in zip(*(name.split("/") for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join(common)


def _subgraph(parts: GraphParts, steps: Sequence[GraphStep], name: str) -> GraphParts:
    """Return the parts of a subgraph, whose layers have names relative to it."""
    layers: dict[str, nn.Module] = {}
    inside = []
    for step in steps:
        ours = step.layer.removeprefix(f"{name}/")
        if step.layer:
            layers[ours] = parts.layers[step.layer]
        inside.append(replace(step, layer=ours))
    return GraphParts((), (), inside, dict(parts.constants), layers)


def _with_open_batch(parts: GraphParts, step: GraphStep, batch: int) -> GraphStep:
    """Return a reshape whose first size is open if it is a multiple of the batch."""
    sizes = parts.constants.get(step.inputs[1]) if step.operator == "Reshape" else None
    if not isinstance(sizes, np.ndarray) or not sizes.size or sizes[0] % batch or -1 in sizes:
        return step
    name = f"{step.inputs[1]} open"
    parts.constants[name] = np.array([-1, *sizes[1:]], np.int64)
    return replace(step, inputs=(step.inputs[0], name))
