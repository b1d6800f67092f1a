"""Read ExecuTorch's ``.pte`` files, without ExecuTorch and without torch.

XNNPACK's part of the network is a graph inside a payload. Its operators are placed in the common
graph between those of ExecuTorch's own kernels, in the order of execution. Its convolutions read
feature maps with channels last, and their weights are given the axis order of the other formats::

    convolution  (outputs, k, k, inputs / groups) in the file, (outputs, inputs / groups, k, k) here
    depthwise    (1, k, k, outputs)               in the file, (outputs, 1, k, k)               here
    transposed   (outputs, k, k, inputs / groups) in the file, (inputs, outputs / groups, k, k) here

The parts for other libraries cannot be read. Each becomes one operator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import (
    Constant,
    Graph,
    Node,
    Shape,
    Value,
    bits_of,
    elements_of,
    with_sizes,
)
from slide_deploy.graph_checks.readers.left_over import Place, unread
from slide_deploy.graph_checks.readers.limits import check_node_count, checked_shape
from slide_deploy.graph_checks.readers.pte_dialect import DIALECT, RENAMED
from slide_deploy.graph_checks.readers.pte_parameters import (
    aten_parameters,
    common_convolution,
    xnnpack_parameters,
)
from slide_deploy.saved.pte.companion import Companion, read_companion, value_names
from slide_deploy.saved.pte.program import (
    Instruction,
    Method,
    PteProgram,
    PteTensor,
    read_program,
    tensors_in,
)
from slide_deploy.saved.pte.xnnpack import MISSING, XnnGraph, XnnNode, read_xnnpack
from slide_deploy.saved.untrusted import damaged, map_file

_XNNPACK = "XnnpackBackend"
# Segments are aligned to this many bytes.
_ALIGNMENT = 128
# Operators that compute sizes if the batch is open.
_SIZES = ("aten::sym_size", "executorch_prim::")
# (outputs, k, k, inputs / groups) to (outputs, inputs / groups, k, k), and of depthwise ones.
_WEIGHT_AXES = {"Conv2d": (0, 3, 1, 2), "DepthwiseConv2d": (3, 0, 1, 2)}


def read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    """Read a file; see ``readers``.

    Raises:
        InputError: the file is damaged or absurdly large.
    """
    content = map_file(path, path)
    try:
        program = read_program(content)
        method = program.methods.get("forward")
        if method is None:
            raise ValueError("it has no method forward")
        companion = read_companion(program)
        graph = _Reader(path, program, method, companion).graph()
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return with_sizes(graph, sizes or {})


@dataclass(eq=False)
class _Reader:
    path: Path
    program: PteProgram
    method: Method
    companion: Companion
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    sealed: list[str] = field(default_factory=list)

    @cached_property
    def most(self) -> int:
        """The largest batch of a file with an open batch; 0 for a fixed one."""
        held = (self.method.values[number] for number in self.method.inputs)
        first = (
            each.sizes[0]
            for each in held
            if isinstance(each, PteTensor) and each.is_open and each.sizes
        )
        return next(first, 0)

    def graph(self) -> Graph:
        """Build the graph of the whole file."""
        self.names = value_names(self.method, self.companion)
        self.places.extend(self.program.places)
        for step in self.method.instructions:
            self._step(step)
            check_node_count(self.path, len(self.nodes))
        left_over = unread(self.path.name, self.program.content, self.places, _ALIGNMENT)
        return Graph(
            dialect=DIALECT,
            path=self.path,
            files=(self.path,),
            ir_version=self.program.version,
            opsets={DIALECT.domain: 1},
            inputs=tuple(self._end(number) for number in self.method.inputs),
            outputs=tuple(self._end(number) for number in self.method.outputs),
            nodes=tuple(self.nodes),
            constants=self.constants,
            values=self.values,
            metadata=self.companion.metadata,
            left_over=tuple(left_over),
            sealed=frozenset(self.sealed),
        )

    def _end(self, number: int) -> Value:
        """An input or output of the method; one that is no tensor has no shape."""
        name = self._value(number)
        return self.values.get(name, Value(name, "undefined", None))

    def _step(self, step: Instruction) -> None:
        if step.delegate is None:
            if step.operator != "free":
                self._kernel(step)
            return
        delegate = self.method.delegates[step.delegate]
        if delegate.id != _XNNPACK:
            self._sealed(delegate.id, step)
            return
        graph = read_xnnpack(delegate.payload)
        self.places.extend(
            (delegate.start + first, delegate.start + end) for first, end in graph.places
        )
        _Part(self, graph, delegate.start, f"delegate {step.delegate}").add(
            [self._value(number) for number in step.arguments]
        )

    def _kernel(self, step: Instruction) -> None:
        """Add an operator of ExecuTorch, whose outputs are its last arguments, listed twice."""
        tensors = [tuple(tensors_in(self.method, number)) for number in step.arguments]
        outputs = tensors[-1] if tensors else ()
        if step.operator.startswith(_SIZES) and not outputs:
            return  # it computes a size
        name = step.operator.partition(".")[0]
        held = [self.method.values[number] for number in step.arguments]
        read = (each for each in tensors if not set(outputs).intersection(each))
        inputs = [self._value(number) for number in chain.from_iterable(read)]
        attributes = dict(aten_parameters(self.method, name, held))
        if name == "aten::convolution":
            name, attributes = common_convolution(name, attributes)
        if name == "aten::addmm":  # bias + x w; every other operator has its bias last
            inputs = [*inputs[1:], *inputs[:1]]
        if name == "aten::linear":
            attributes["transpose_right"] = True
        self.nodes.append(
            Node(
                f"{name.partition('::')[2] or name} {len(self.nodes)}",
                name,
                DIALECT.domain,
                tuple(inputs),
                tuple(self._value(number) for number in outputs),
                attributes,
            )
        )

    def _sealed(self, library: str, step: Instruction) -> None:
        """Add a delegate that cannot be read; values without a producer become its outputs."""
        names = [self._value(number) for number in step.arguments]
        known = {name for node in self.nodes for name in node.outputs}
        known |= {self.names[number] for number in self.method.inputs} | set(self.constants)
        name = f"delegate {step.delegate}, {library}"
        self.sealed.append(name)
        self.nodes.append(
            Node(
                name,
                library,
                DIALECT.domain,
                tuple(name for name in names if name in known),
                tuple(name for name in names if name not in known),
            )
        )

    def _value(self, number: int) -> str:
        """The name of a tensor of the method, which is declared on first use."""
        name = self.names[number]
        held = self.method.values[number]
        if name in self.values or name in self.constants or not isinstance(held, PteTensor):
            return name
        shape = checked_shape(self.path, name, held.sizes)
        if not held.buffer:
            self.values[name] = Value(name, held.dtype, self.opened(shape))
            return name
        if held.buffer >= len(self.program.constants):
            raise ValueError(f"{name} is a constant that the file does not have")
        if not held.is_row_major:
            raise ValueError(f"{name} is a constant whose axes are in another order")
        start, end = self.program.constants[held.buffer]
        self.constant(name, held.dtype, shape, start, end - start)
        return name

    def opened(self, shape: tuple[int, ...]) -> Shape:
        """A shape at the largest batch, with its first size open if the batch is open."""
        if self.most and shape and shape[0] % self.most == 0:
            return (None, *shape[1:])
        return shape

    def constant(
        self, name: str, dtype: str, shape: tuple[int, ...], start: int, most: int
    ) -> None:
        """Declare a constant that begins at byte ``start``, of at most ``most`` bytes."""
        size = (elements_of(shape) * bits_of(dtype) + 7) // 8
        content = self.program.content
        if start + size > content.size or size > most:
            raise ValueError(f"{name} ends behind the end of its data")
        self.places.append((start, start + size))
        self.constants[name] = Constant(
            name, dtype, shape, size, f"{start}:{size}", lambda: content[start : start + size]
        )


@dataclass(eq=False)
class _Part:
    """Adds one graph of XNNPACK to the common graph."""

    reader: _Reader
    graph: XnnGraph
    start: int
    prefix: str
    names: dict[int, str] = field(default_factory=dict)

    def add(self, arguments: list[str]) -> None:
        """Add its operators; ``arguments`` are the names of its inputs, then of its outputs."""
        ends = (*self.graph.inputs, *self.graph.outputs)
        if len(arguments) != len(ends):
            raise ValueError(f"{self.prefix} is given {len(arguments)} values and has {len(ends)}")
        self.names = dict(zip(ends, arguments, strict=True))
        for index, node in enumerate(self.graph.nodes):
            operator = RENAMED.get(node.operator, node.operator)
            inputs = [
                self._value(number, node, place) if number != MISSING else ""
                for place, number in enumerate(node.inputs)
            ]
            while inputs and not inputs[-1]:
                inputs.pop()
            self.reader.nodes.append(
                Node(
                    f"{self.prefix}/{operator} {index}",
                    operator,
                    DIALECT.domain,
                    tuple(inputs),
                    (self._value(node.output, node, -1),),
                    dict(xnnpack_parameters(node)),
                )
            )

    def _value(self, number: int, node: XnnNode, place: int) -> str:
        name = self.names.setdefault(number, f"{self.prefix}/{number}")
        held = self.graph.values[number]
        if name in self.reader.values or name in self.reader.constants:
            return name
        shape = checked_shape(self.reader.path, name, held.sizes)
        if not held.constant:
            self.reader.values[name] = Value(name, held.dtype, self.reader.opened(shape))
            return name
        stored = self.graph.constants[held.constant]
        if isinstance(stored, str):
            if stored not in self.reader.program.named:
                raise ValueError(f"{name} has weights that the file does not have")
            start, most = self.reader.program.named[stored]
        else:
            start, most = self.start + stored[0], stored[1]
        self.reader.constant(name, held.dtype, shape, start, most)
        if place == 1:
            self._turn(name, node)
        return name

    def _turn(self, name: str, node: XnnNode) -> None:
        """Transpose the weight of a convolution to the axis order of the other formats."""
        axes = _WEIGHT_AXES.get(node.operator)
        held = self.reader.constants[name]
        if node.operator == "ConvTranspose2d" and len(held.shape) == 4:
            groups = max(node.integers["groups"], 1)
            outputs, height, width, inputs = held.shape
            shape: tuple[int, ...] = (inputs * groups, outputs // groups, height, width)
            self.reader.constants[name] = replace(held, shape=shape)
        elif axes is not None and len(held.shape) == 4 and bits_of(held.dtype) >= 8:
            shape = tuple(held.shape[axis] for axis in axes)

            def load() -> NDArray[np.uint8]:
                numbers = held.load().reshape(*held.shape, bits_of(held.dtype) // 8)
                return np.ascontiguousarray(numbers.transpose(*axes, 4)).reshape(-1)

            self.reader.constants[name] = replace(held, shape=shape, load=load)
