"""The common graph: what ONNX, OpenVINO IR, Core ML and the other formats have in common.

Operators keep the names of their format; its ``Dialect`` lists those that rules depend on. A
literal that a format stores as a node (``Constant``, ``Const``, ``const``) is a constant here, not
a node. A literal that parametrises an operator (a permutation, an axis) is an attribute if the
format has named parameters, and a constant among its inputs if the format has positional ones.
"""

import hashlib
import math
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.dialect import Dialect, Kind

Dimension: TypeAlias = int | str | None
"""A size, the name of an open size, or None for an open size without a name."""
Shape: TypeAlias = tuple[Dimension, ...]
Attribute: TypeAlias = int | float | str | bool | tuple["Attribute", ...]

# Types that numpy has too; files are little endian.
_NUMPY_TYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
        *("bool", "uint8", "uint16", "uint32", "uint64"),
    )
}
_MIXING = (Kind.CONVOLUTION, Kind.MATMUL, Kind.LINEAR, Kind.ATTENTION, Kind.CONTROL_FLOW)


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that flows along an edge.

    Attributes:
        name: unique in its graph.
        dtype: numpy's name, such as ``float32``; ``undefined`` if the file states none.
        shape: None if not even the rank is known.
    """

    name: str
    dtype: str
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    Attributes:
        name: as in the file.
        operator: the format's name for it.
        domain: for standard operators that of the dialect, whatever the file calls it.
        inputs: names of values, by position; an empty name is an omitted input.
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
        """The integers of an attribute, one or many; None if it is absent or holds others."""
        held = self.attributes.get(name)
        items = held if isinstance(held, tuple) else (held,)
        whole = tuple(item for item in items if isinstance(item, int))
        return whole if len(whole) == len(items) else None


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that the file stores; its bytes are read when a rule needs them.

    Attributes:
        name: unique in its graph.
        dtype: as in ``Value``.
        shape: every size is known.
        size: bytes in the file.
        source: location of the bytes; two constants with one source are stored once.
        load: returns the bytes, shape (size,).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    source: str
    load: Callable[[], NDArray[np.uint8]]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return elements_of(self.shape)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the bytes."""
        return hashlib.sha256(np.ascontiguousarray(self.load()).data).digest()

    def array(self) -> NDArray[np.generic] | None:
        """The numbers in their shape; None for types that numpy does not have."""
        numpy_type = _NUMPY_TYPES.get(self.dtype)
        return None if numpy_type is None else self.load().view(numpy_type).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Bytes of a file that nothing in the graph uses; a noun phrase says where they are."""

    what: str
    size: int


@dataclass(frozen=True, eq=False)
class Graph:
    """A model file, as far as rules need it.

    Attributes:
        dialect: names and conventions of its format.
        path: the file or package that the caller named.
        files: every file that belongs to it.
        ir_version: version of the file format itself.
        opsets: version of each operator set that the file imports, by domain.
        inputs: inputs of the model.
        outputs: outputs of the model.
        nodes: in the order of the file, including the bodies of control flow.
        constants: by name.
        values: types and shapes by name, as far as they are known.
        metadata: texts that the exporter stored.
        bound: names that the body of a control-flow node receives from that node.
        functions: operators that the file itself defines.
        function_dtypes: types that their bodies store or cast to.
        declared: types and shapes of intermediates as the file declares them, by name, if the
            reader computes them itself; the computed ones are in ``values``.
        described_inputs: inputs in the description that the file holds for its callers, apart from
            the graph; None if it has no such description.
        described_outputs: the same for outputs.
        left_over: bytes of the files that the graph does not use.
        sealed: names of nodes that replace a part of the network which cannot be read here.
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
    function_dtypes: frozenset[str] = frozenset()
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
    def dtypes(self) -> frozenset[str]:
        """The types of all constants and values, and of those in functions as far as known."""
        constants = {each.dtype for each in self.constants.values()}
        values = {each.dtype for each in self.values.values()}
        return frozenset(constants | values | self.function_dtypes)

    @property
    def stored(self) -> Collection[Constant]:
        """The constants; of those that share their bytes and their type, one."""
        return {(each.source, each.dtype): each for each in self.constants.values()}.values()

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
        """The nodes in topological order, without those on a cycle or depending on one."""
        pending = [
            len({name for name in node.inputs if name in self.producers}) for node in self.nodes
        ]
        position = {id(node): index for index, node in enumerate(self.nodes)}
        ready = deque(node for node, count in zip(self.nodes, pending, strict=True) if count == 0)
        done: list[Node] = []
        while ready:
            node = ready.popleft()
            done.append(node)
            for name in dict.fromkeys(node.outputs):
                if self.producers.get(name) is not node:
                    continue
                for reader in self.consumers.get(name, ()):
                    pending[position[id(reader)]] -= 1
                    if pending[position[id(reader)]] == 0:
                        ready.append(reader)
        return tuple(done)

    def shape(self, name: str) -> Shape | None:
        """The shape of a value or constant; None if its rank is unknown."""
        if name in self.constants:
            return self.constants[name].shape
        value = self.values.get(name)
        return None if value is None else value.shape

    def array(self, name: str, limit: float = math.inf) -> NDArray[np.generic] | None:
        """The numbers of a constant; None if it has more elements, or a type that numpy lacks."""
        constant = self.constants.get(name)
        return None if constant is None or constant.elements > limit else constant.array()

    def number(self, name: str) -> float | None:
        """The number of a constant with one element; None for anything else."""
        array = self.array(name, limit=1)
        return float(array.item()) if array is not None and array.size else None

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The integers of a small constant; None if it is larger or holds no integers."""
        array = self.array(name, limit=64)
        if array is None or array.dtype.kind not in "iub":
            return None
        return tuple(int(item) for item in array.ravel())


def fixed(shape: Shape | None) -> tuple[int, ...] | None:
    """The sizes of a shape; None if one is open or the rank is unknown."""
    sizes = tuple(size for size in shape or () if isinstance(size, int))
    return None if shape is None or len(sizes) < len(shape) else sizes


def batch_one(shape: Shape) -> Shape:
    """The shape with a first size of 1 if that is open."""
    return tuple(size if axis or isinstance(size, int) else 1 for axis, size in enumerate(shape))


def bits_of(dtype: str) -> int:
    """Bits of an element, from the name of its type; 0 for a type without numbers."""
    if dtype == "bool":
        return 8
    width = re.search(r"\d+", dtype)
    return 0 if width is None else int(width.group())


def elements_of(shape: Sequence[int]) -> int:
    """The product of the sizes, as an exact integer."""
    return math.prod(shape)


def with_sizes(graph: Graph, sizes: Mapping[str, Shape]) -> Graph:
    """The graph with these shapes for its inputs, by name; other values keep theirs."""
    inputs = tuple(replace(each, shape=sizes.get(each.name, each.shape)) for each in graph.inputs)
    known = {each.name: each for each in inputs}
    return replace(graph, inputs=inputs, values={**graph.values, **known})


def kind_of(graph: Graph, node: Node) -> Kind:
    """The kind of a node; ``Kind.OTHER`` for an operator that the dialect does not list."""
    return graph.dialect.kinds.get(node.operator, Kind.OTHER)


def may_mix_channels(graph: Graph, node: Node) -> bool:
    """Whether a node mixes channels by weights, or runs a graph whose nodes may."""
    return kind_of(graph, node) in _MIXING
