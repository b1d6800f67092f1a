"""The small common graph: what ONNX, OpenVINO IR and Core ML programs have in common.

Operators keep the names of their format; its ``Dialect`` has those that rules reason about. A
literal that a format stores as a node of its own (``Constant``, ``Const``, ``const``) is a constant
here, not a node. A literal that only steers an operator (a permutation, an axis) is one of its
attributes where the format has named parameters, and a constant among its inputs where it has
positions.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.dialect import Dialect

Dimension: TypeAlias = int | str | None
"""A size, the name of a size that is open, or None where it is open and has no name."""
Shape: TypeAlias = tuple[Dimension, ...]
Attribute: TypeAlias = int | float | str | bool | tuple["Attribute", ...]

_NUMPY_TYPES = {
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "<i2",
    "uint16": "<u2",
    "int32": "<i4",
    "uint32": "<u4",
    "int64": "<i8",
    "uint64": "<u8",
    "bool": "?",
}


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that flows along an edge.

    Attributes:
        name: unique in its graph.
        dtype: as numpy spells it, ``float32`` for example; ``undefined`` where the file is silent.
        shape: None where not even the rank is known.
    """

    name: str
    dtype: str
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    Attributes:
        name: as the file spells it.
        operator: in the words of the format.
        domain: that of the dialect for standard operators, whatever the file calls it.
        inputs: names of values, by position; an empty name is an input left out.
        outputs: names of values.
        attributes: by name.
    """

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that holds integers, one or many; None if it is absent or holds others."""
        held = self.attributes.get(name)
        items = held if isinstance(held, tuple) else (held,)
        whole = tuple(item for item in items if isinstance(item, int))
        return whole if len(whole) == len(items) else None


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that the file holds; its bytes are read when a rule asks for them.

    Attributes:
        name: unique in its graph.
        dtype: as in ``Value``.
        shape: every size is known.
        size: bytes in the file.
        source: where they stand; two constants of one source are stored once.
        load: gives the bytes, shape (size,).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    source: str
    load: Callable[[], NDArray[np.uint8]]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return elements_of(self.shape)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the bytes."""
        return hashlib.sha256(np.ascontiguousarray(self.load()).data).digest()

    def array(self) -> NDArray[np.generic] | None:
        """The numbers in their shape; None for types that numpy does not know."""
        numpy_type = _NUMPY_TYPES.get(self.dtype)
        return None if numpy_type is None else self.load().view(numpy_type).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Bytes of a file that belong to nothing in the graph.

    Attributes:
        what: where they are, a clause.
        size: how many there are.
    """

    what: str
    size: int


@dataclass(frozen=True, eq=False)
class Graph:
    """A model file, as far as rules need it.

    Attributes:
        dialect: how its format writes what rules reason about.
        path: the file or package that was named.
        files: every file that belongs to it.
        ir_version: version of the file format itself.
        opsets: version of each operator set that the file asks for, by domain.
        inputs: what the caller gives.
        outputs: what he gets.
        nodes: in the order of the file, bodies of control flow included.
        constants: by name.
        values: types and shapes by name, as far as the file tells.
        metadata: texts that the exporter stored.
        bound: names that a body of control flow gets from the node that runs it.
        functions: operators that the file itself defines.
        declared: types and shapes of inner values that the file declares and the reader does not
            believe, by name; what the operators give is in ``values``.
        described_inputs: inputs as the file describes them to whoever loads it, apart from the
            graph; None where it says them only once.
        described_outputs: the same for outputs.
        left_over: what the files hold beside the graph.
        sealed: names of nodes that stand for a part of the network that nobody here can read.
    """

    dialect: Dialect
    path: Path
    files: tuple[Path, ...]
    ir_version: int
    opsets: Mapping[str, int]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant]
    values: Mapping[str, Value]
    metadata: Mapping[str, str]
    bound: frozenset[str] = frozenset()
    functions: tuple[str, ...] = ()
    declared: Mapping[str, Value] = field(default_factory=dict)
    described_inputs: tuple[Value, ...] | None = None
    described_outputs: tuple[Value, ...] | None = None
    left_over: tuple[LeftOver, ...] = ()
    sealed: frozenset[str] = frozenset()

    @property
    def format(self) -> str:
        """The name of its format."""
        return self.dialect.format

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that computes each value."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def consumers(self) -> Mapping[str, Sequence[Node]]:
        """The nodes that read each value."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return readers

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """The nodes, each behind those that it reads from; without those on or behind a cycle."""
        waits = [
            len({name for name in node.inputs if name in self.producers}) for node in self.nodes
        ]
        position = {id(node): index for index, node in enumerate(self.nodes)}
        ready = deque(node for node, count in zip(self.nodes, waits, strict=True) if count == 0)
        done: list[Node] = []
        while ready:
            node = ready.popleft()
            done.append(node)
            for name in dict.fromkeys(node.outputs):
                if self.producers.get(name) is not node:
                    continue
                for reader in self.consumers.get(name, ()):
                    waits[position[id(reader)]] -= 1
                    if waits[position[id(reader)]] == 0:
                        ready.append(reader)
        return tuple(done)

    def shape(self, name: str) -> Shape | None:
        """The shape of a value or constant; None if its rank is unknown."""
        if name in self.constants:
            return self.constants[name].shape
        value = self.values.get(name)
        return None if value is None else value.shape

    def integers(self, name: str, limit: int = 64) -> tuple[int, ...] | None:
        """The integers that a small constant holds; None if it is none."""
        constant = self.constants.get(name)
        if constant is None or constant.elements > limit:
            return None
        array = constant.array()
        if array is None or array.dtype.kind not in "iub":
            return None
        return tuple(int(item) for item in array.ravel())


def elements_of(shape: Sequence[int]) -> int:
    """The product of the sizes, in integers without bound."""
    product = 1
    for size in shape:
        product *= size
    return product


def with_sizes(graph: Graph, sizes: Mapping[str, Shape]) -> Graph:
    """The same graph where inputs have these shapes, by name; other values stay as they are."""
    inputs = tuple(
        Value(each.name, each.dtype, sizes.get(each.name, each.shape)) for each in graph.inputs
    )
    known = {each.name: each for each in inputs}
    return replace(graph, inputs=inputs, values={**graph.values, **known})
