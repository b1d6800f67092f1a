"""Read OpenVINO IR: the XML and the weights beside it, without OpenVINO.

    <net version="11"> <layers> <layer id name type version> <data .../> <input> <output> ports
                       <edges> <edge from-layer from-port to-layer to-port/>
                       <rt_info> metadata

A layer of type Const points into the ``.bin`` file; a layer with a body inside is control flow.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import (
    Attribute,
    Constant,
    Graph,
    Node,
    Shape,
    Value,
    with_sizes,
)
from slide_deploy.graph_checks.readers.left_over import Place, unread
from slide_deploy.graph_checks.readers.limits import (
    check_bytes,
    check_node_count,
    checked_shape,
    short,
)
from slide_deploy.graph_checks.readers.openvino_dialect import DIALECT
from slide_deploy.graph_checks.readers.xml_tree import parse_xml
from slide_deploy.saved.untrusted import damaged, file_inside, map_file

# Element types: names in <data> and in ports, dtype name, bits.
_TYPES = (
    ("f64", "FP64", "float64", 64),
    ("f32", "FP32", "float32", 32),
    ("f16", "FP16", "float16", 16),
    ("bf16", "BF16", "bfloat16", 16),
    ("f8e4m3", "F8E4M3", "float8e4m3fn", 8),
    ("f8e5m2", "F8E5M2", "float8e5m2", 8),
    ("i64", "I64", "int64", 64),
    ("i32", "I32", "int32", 32),
    ("i16", "I16", "int16", 16),
    ("i8", "I8", "int8", 8),
    ("i4", "I4", "int4", 4),
    ("u64", "U64", "uint64", 64),
    ("u32", "U32", "uint32", 32),
    ("u16", "U16", "uint16", 16),
    ("u8", "U8", "uint8", 8),
    ("u4", "U4", "uint4", 4),
    ("u2", "U2", "uint2", 2),
    ("u1", "BIN", "uint1", 1),
    ("f8e8m0", "F8E8M0", "float8e8m0", 8),
    ("f4e2m1", "F4E2M1", "float4e2m1", 4),
    ("nf4", "NF4", "nfloat4", 4),
    ("boolean", "BOOL", "bool", 8),
)
_ELEMENT_TYPES = {data: (name, bits) for data, _, name, bits in _TYPES}
_PORT_TYPES = {port: name for _, port, name, _ in _TYPES}
_STANDARD = re.compile(r"opset(\d{1,3})")
_NUMBER = re.compile(r"\d{1,10}", re.ASCII)
_METADATA = "slide_deploy"
# Characters. Integers of 64 bits and doubles have fewer in decimal.
_LONGEST_NUMBER = 32

Port = tuple[str, str]  # of a layer: the layer's id and the port's id


def read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    """Read an IR file and the ``.bin`` file beside it; see ``readers``.

    Raises:
        InputError: a file is missing, damaged or absurdly large.
    """
    root = parse_xml(path)
    if root.tag != "net":
        raise damaged(path, f"its outermost element is {short(root.tag)}, not net")
    return with_sizes(_Reader(path).graph(root), sizes or {})


@dataclass(frozen=True)
class _Net:
    """Builds the graph of a net and of its control-flow bodies."""

    layers: tuple[ElementTree.Element, ...]
    sources: Mapping[Port, Port]
    names: Mapping[Port, str]

    def inputs(self, layer: ElementTree.Element) -> tuple[str, ...]:
        """Names of the values that a layer reads; empty for an edge without a source."""
        ports = ((_id(layer), _id(port)) for port in layer.iterfind("input/port"))
        return tuple(self.names.get(self.sources.get(port, port), "") for port in ports)

    def outputs(self, layer: ElementTree.Element) -> tuple[str, ...]:
        """Names of the values that a layer computes."""
        return tuple(self.names[(_id(layer), _id(port))] for port in layer.iterfind("output/port"))


@dataclass(eq=False)
class _Reader:
    path: Path
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    opsets: dict[str, int] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _weights: NDArray[np.uint8] | None = None
    _read: list[Place] = field(default_factory=list)
    _described: list[Value] = field(default_factory=list)

    def graph(self, root: ElementTree.Element) -> Graph:
        """Build the graph of the whole file."""
        inputs, outputs = self._body(root, "")
        weights = () if self._weights is None else (self.path.with_suffix(".bin"),)
        left_over = (unread(file.name, self._content(), self._read) for file in weights)
        return Graph(
            dialect=DIALECT,
            path=self.path,
            files=(self.path, *weights),
            ir_version=self._integer(root.get("version"), "the version of the net"),
            opsets=self.opsets,
            inputs=tuple(self.values[name] for name in inputs),
            outputs=tuple(
                self.values.get(name, Value(name, "undefined", None)) for name in outputs
            ),
            nodes=tuple(self.nodes),
            constants=self.constants,
            values=self.values,
            metadata=dict(_metadata(root)),
            bound=frozenset(self.bound),
            described_inputs=tuple(self._described),
            left_over=tuple(chain.from_iterable(left_over)),
        )

    def _body(
        self, element: ElementTree.Element, prefix: str
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Add the layers of a net or body; return the names of its inputs and outputs."""
        net = self._net(element, prefix)
        check_node_count(self.path, len(self.nodes) + len(net.layers))
        inputs: list[str] = []
        outputs: list[str] = []
        for layer in net.layers:
            kind = layer.get("type", "")
            self._declare(net, layer)
            if kind == "Result":
                outputs.extend(net.inputs(layer))
            elif kind == "Parameter":
                inputs.extend(net.outputs(layer))
                if not prefix:
                    self._described.extend(_described(layer, name) for name in net.outputs(layer))
            elif kind == "Const":
                self._constant(net, layer)
            else:
                self._node(net, layer, prefix)
        return tuple(inputs), tuple(outputs)

    def _net(self, element: ElementTree.Element, prefix: str) -> _Net:
        layers = tuple(element.iterfind("layers/layer"))
        sources = {
            (edge.get("to-layer", ""), edge.get("to-port", "")): (
                edge.get("from-layer", ""),
                edge.get("from-port", ""),
            )
            for edge in element.iterfind("edges/edge")
        }
        # Outputs of the net keep the names that callers use.
        published = {
            sources.get((_id(layer), _id(port)))
            for layer in layers
            if layer.get("type") == "Result"
            for port in layer.iterfind("input/port")
        }
        names: dict[Port, str] = {}
        for layer in layers:
            ports = list(layer.iterfind("output/port"))
            for index, port in enumerate(ports):
                place = (_id(layer), _id(port))
                name = prefix + layer.get("name", place[0])
                if layer.get("type") == "Parameter" or place in published:
                    name = prefix + (port.get("names", "").split(",")[0] or name)
                elif len(ports) > 1:
                    name = f"{name}:{index}"
                names[place] = self._unique(name, place)
        return _Net(layers, sources, names)

    def _unique(self, name: str, place: Port) -> str:
        """A unique name for a layer, because layers may share one and values may not."""
        if name in self._taken:
            name = f"{name}#{place[0]}.{place[1]}"
        if name in self._taken:
            raise damaged(self.path, f"two layers have the id {short(place[0])}")
        self._taken.add(name)
        return name

    def _declare(self, net: _Net, layer: ElementTree.Element) -> None:
        for name, port in zip(net.outputs(layer), layer.iterfind("output/port"), strict=True):
            where = f"a size of {short(name)}"
            sizes = [self._integer(size.text, where) for size in port.iterfind("dim")]
            checked_shape(self.path, name, (size for size in sizes if size != -1))
            self.values[name] = Value(
                name,
                _PORT_TYPES.get(port.get("precision", ""), "undefined"),
                tuple(None if size == -1 else size for size in sizes),
            )

    def _constant(self, net: _Net, layer: ElementTree.Element) -> None:
        data, outputs = layer.find("data"), net.outputs(layer)
        if data is None or len(outputs) != 1:
            raise damaged(self.path, f"the constant {short(layer.get('name', ''))} has no data")
        name = outputs[0]
        sizes = filter(None, re.split(r"[,\s]+", data.get("shape", "")))
        where = f"the data of {short(name)}"
        shape = checked_shape(self.path, name, [self._integer(size, where) for size in sizes])
        dtype, bits = _ELEMENT_TYPES.get(data.get("element_type", ""), ("undefined", 0))
        start, size = (self._integer(data.get(key), where) for key in ("offset", "size"))
        end = start + size
        if bits:
            size = check_bytes(self.path, name, shape, bits, size)
        content = self._content()
        if start < 0 or size < 0 or start + size > content.size:
            raise damaged(self.path, f"{short(name)} ends behind the end of the .bin file")
        self._read.append((start, end))
        self.constants[name] = Constant(
            name, dtype, shape, size, f"{start}:{size}", lambda: content[start : start + size]
        )

    def _content(self) -> NDArray[np.uint8]:
        if self._weights is None:
            file = file_inside(
                self.path, self.path.parent, self.path.with_suffix(".bin").name, "its data file"
            )
            self._weights = map_file(self.path, file)
        return self._weights

    def _node(self, net: _Net, layer: ElementTree.Element, prefix: str) -> None:
        name = prefix + layer.get("name", _id(layer))
        inputs = list(net.inputs(layer))
        for body in layer:
            if body.find("layers") is not None:
                entering, leaving = self._body(body, f"{name}/{body.tag}/")
                self.bound.update(entering)
                # The layer that runs a body reads the body's outputs.
                inputs.extend(leaving)
        data = layer.find("data")
        attributes = {} if data is None else {k: _attribute(v) for k, v in data.items()}
        operator, domain = layer.get("type", ""), self._domain(layer.get("version", ""))
        outputs = net.outputs(layer)
        self.nodes.append(Node(name, operator, domain, tuple(inputs), outputs, attributes))

    def _domain(self, version: str) -> str:
        match = _STANDARD.fullmatch(version)
        if match is None:
            return version or "unknown"
        latest = max(int(match[1]), self.opsets.get(DIALECT.domain, 0))
        self.opsets[DIALECT.domain] = latest
        return DIALECT.domain

    def _integer(self, text: str | None, what: str) -> int:
        try:
            return int(text or "")
        except ValueError as error:
            raise damaged(self.path, f"{what} is {short(text or 'empty')}") from error


def _described(parameter: ElementTree.Element, name: str) -> Value:
    """An input as described by its layer's data, which the runtime uses instead of the port.

    A size is a number, or open: ``?``, ``-1`` or a range like ``1..1024``; ``...`` is any rank.
    """
    data = parameter.find("data")
    text = "..." if data is None else data.get("shape", "...")
    dtype, _ = _ELEMENT_TYPES.get("" if data is None else data.get("element_type", ""), ("none", 0))
    if "..." in text:
        return Value(name, dtype, None)
    sizes = [size.strip() for size in text.split(",")] if text else []
    return Value(
        name, dtype, tuple(int(size) if _NUMBER.fullmatch(size) else None for size in sizes)
    )


def _id(element: ElementTree.Element) -> str:
    return element.get("id", "")


def _metadata(root: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """The exporter's metadata: an entry ``slide_deploy.KEY`` for each element of its section."""
    section = root.find(f"rt_info/{_METADATA}")
    for entry in section if section is not None else ():
        yield f"{_METADATA}.{entry.tag}", entry.get("value", "")


def _attribute(text: str) -> Attribute:
    """``"1, 2"`` as (1, 2), ``"3"`` as 3, ``"0.5"`` as 0.5, ``"true"`` as True, else the text."""
    if text in ("true", "false"):
        return text == "true"
    items = text.split(",")
    for kind in (int, float) if max(map(len, items)) <= _LONGEST_NUMBER else ():
        try:
            numbers = tuple(kind(item) for item in items)
        except ValueError:
            continue
        return numbers[0] if len(numbers) == 1 else numbers
    return text
