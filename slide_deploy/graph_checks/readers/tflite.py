"""Read LiteRT's ``.tflite`` files, without LiteRT and without a FlatBuffers library.

    Model    operator codes, subgraphs, buffers, metadata, signatures
    Subgraph tensors, the numbers of its inputs and outputs, operators
    Tensor   shape, type, number of its buffer; it is constant if the buffer holds bytes. Scales and
             zero points of integers, which become inputs of QUANTIZE and DEQUANTIZE

The first subgraph is the network; the others are bodies of control flow. A signature holds the
names that callers use for inputs and outputs; the names of tensors come from the converter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.declarations import PREFIX
from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.graph import (
    Attribute,
    Constant,
    Graph,
    LeftOver,
    Node,
    Shape,
    Value,
    with_sizes,
)
from slide_deploy.graph_checks.readers.left_over import unread
from slide_deploy.graph_checks.readers.limits import check_bytes, check_node_count, checked_shape
from slide_deploy.graph_checks.readers.tflite_dialect import DIALECT
from slide_deploy.saved.flatbuffer import FlatTable
from slide_deploy.saved.tflite.model import Model, opened
from slide_deploy.saved.tflite.schema import OPTIONS, SECOND, TYPES, Option

_CUSTOM_DOMAIN = "custom"


def read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    """Read a ``.tflite`` file; see ``readers``.

    Raises:
        InputError: the file is damaged or absurdly large.
    """
    return with_sizes(_Reader(path, opened(path)).graph(), sizes or {})


@dataclass(eq=False)
class _Reader:
    path: Path
    model: Model
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    _used: set[int] = field(default_factory=set)

    def graph(self) -> Graph:
        """Build the graph of the whole file."""
        model = self.model
        for index, subgraph in enumerate(model.subgraphs):
            for name, tensor in zip(model.names[index], subgraph.tensors, strict=True):
                self._tensor(tensor, name)
        # Bodies of control flow come before the operators that run them.
        for index in reversed(range(len(model.subgraphs))):
            self._operators(index)
        inputs, outputs = model.inputs(0), model.outputs(0)
        bodies = range(1, len(model.subgraphs))
        return Graph(
            dialect=DIALECT,
            path=self.path,
            files=(self.path,),
            ir_version=model.version,
            opsets=self._opsets(),
            inputs=tuple(self.values[name] for name in inputs if name in self.values),
            outputs=tuple(self._output(name) for name in outputs),
            nodes=tuple(self.nodes),
            constants=self.constants,
            values=self.values,
            metadata={
                key: text for key, text in model.metadata().items() if key.startswith(PREFIX)
            },
            bound=frozenset(name for body in bodies for name in model.inputs(body)),
            left_over=tuple(self._left_over()),
        )

    def _opsets(self) -> dict[str, int]:
        """The highest version of any operator, by domain."""
        opsets: dict[str, int] = {}
        for code in self.model.codes:
            domain = _CUSTOM_DOMAIN if code.is_custom else DIALECT.domain
            opsets[domain] = max(code.version, opsets.get(domain, 0))
        return opsets

    def _tensor(self, tensor: FlatTable, name: str) -> None:
        number, buffer = tensor.number(1, "int8"), tensor.number(2, "uint32")
        dtype, bits = TYPES.get(number, ("undefined", 0))
        sizes = tensor.numbers(0, "int32")
        start, end = self.model.buffer(buffer)
        self._used.add(buffer)
        if end > start:
            shape = checked_shape(self.path, name, sizes)
            if bits:
                end = start + check_bytes(self.path, name, shape, bits, end - start)
            content = self.model.file.content
            source = f"{start}:{end - start}"
            self.constants[name] = Constant(
                name, dtype, shape, end - start, source, lambda: content[start:end]
            )
            return
        # -1 is an open size; ``sizes`` has 1 there.
        signature = tensor.numbers(7, "int32") or sizes
        checked_shape(self.path, name, (size for size in signature if size != -1))
        self.values[name] = Value(
            name, dtype, tuple(None if size == -1 else size for size in signature)
        )

    def _operators(self, index: int) -> None:
        model = self.model
        for place, operator in enumerate(model.subgraphs[index].operators()):
            check_node_count(self.path, len(self.nodes) + 1)
            code = model.code(operator.number(0, "uint32"))
            inputs = [
                "" if number == -1 else model.name(index, number)
                for number in operator.numbers(1, "int32")
            ]
            outputs = tuple(model.name(index, number) for number in operator.numbers(2, "int32"))
            name = outputs[0] if outputs else f"{code.operator}#{index}.{place}"
            attributes: dict[str, Attribute] = {}
            options = operator.table(12 if code.operator in SECOND else 4)
            for option in OPTIONS.get(code.operator, ()):
                held = _option(option, options)
                attributes[option.name] = held
                if option.is_body and isinstance(held, int):
                    # The operator that runs a body reads the body's outputs.
                    inputs.extend(model.outputs(held))
            numbers = operator.numbers(2 if code.operator == "QUANTIZE" else 1, "int32")
            if code.operator in DIALECT.rounding and inputs and numbers:
                tensor = model.subgraphs[index].tensors[numbers[0]]
                inputs += self._scaling(tensor, name, attributes)
            domain = _CUSTOM_DOMAIN if code.is_custom else DIALECT.domain
            node = Node(name, code.operator, domain, tuple(inputs), outputs, attributes)
            self.nodes.append(self._with_geometry(node))

    def _scaling(
        self, tensor: FlatTable, name: str, attributes: dict[str, Attribute]
    ) -> tuple[str, ...]:
        """Create constants for the scales and zero points of an integer tensor; return their names.

        They belong to the operator of this name, whose attributes are given the axis of the scales.
        """
        stated = tensor.table(4)
        scales = () if stated is None else stated.numbers(2, "float32")
        if stated is None or not scales:
            return ()
        attributes["axis"] = stated.number(6, "int32")
        zeros = stated.numbers(3, "int64")
        parts = [_held(f"{name}/scale", np.array(scales, np.float32))]
        parts += [_held(f"{name}/zero point", np.array(zeros, np.int64))] if zeros else []
        self.constants |= {each.name: each for each in parts}
        return tuple(each.name for each in parts)

    def _with_geometry(self, node: Node) -> Node:
        """Give a convolution the attributes of other formats: strides, dilations and groups."""
        attributes = dict(node.attributes)
        for name, option in (("strides", "stride"), ("dilations", "dilation")):
            pair = tuple(attributes.pop(f"{option}_{axis}", None) for axis in ("h", "w"))
            if None not in pair:
                attributes[name] = tuple(size for size in pair if size is not None)
        if DIALECT.kinds.get(node.operator) is Kind.CONVOLUTION and len(node.inputs) > 1:
            channels, taken = (self._size(name, -1) for name in node.inputs[:2])
            if node.operator == "DEPTHWISE_CONV_2D":
                taken = 1
            if channels and taken:
                attributes["groups"] = channels // taken
        return replace(node, attributes=attributes)

    def _size(self, name: str, axis: int) -> int | None:
        value = self.constants.get(name) or self.values.get(name)
        size = value.shape[axis] if value is not None and value.shape else None
        return size if isinstance(size, int) else None

    def _output(self, name: str) -> Value:
        held = self.constants.get(name) or self.values[name]
        return Value(name, held.dtype, held.shape)

    def _left_over(self) -> Iterator[LeftOver]:
        """Buffers that nothing reads, and bytes after the last one that was read."""
        model = self.model
        used = self._used | model.described
        for index, (start, end) in enumerate(model.buffers):
            if index not in used and end > start:
                yield LeftOver(f"buffer {index} of {self.path.name}", end - start)
        yield from unread(self.path.name, model.file.content, [(0, model.file.end)])


def _held(name: str, numbers: NDArray[np.generic]) -> Constant:
    """A constant of numbers from the tables of a file; a single number becomes a scalar."""
    shape = () if numbers.size == 1 else numbers.shape
    content = numbers.view(np.uint8)
    return Constant(name, str(numbers.dtype), shape, numbers.nbytes, name, lambda: content)


def _option(option: Option, table: FlatTable | None) -> Attribute:
    """The value of an operator's parameter, or its default."""
    if table is None:
        held: Attribute = option.default
    elif option.kind == "bool":
        held = bool(table.number(option.slot, "uint8"))
    else:
        held = table.number(option.slot, option.kind, option.default)
    if option.words and isinstance(held, int):
        return option.words[held] if 0 <= held < len(option.words) else f"unknown {held}"
    return held
