"""Read ONNX files."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.graph_checks.graph import (
    Attribute,
    Constant,
    Dimension,
    Graph,
    LeftOver,
    Node,
    Shape,
    Value,
)
from slide_deploy.graph_checks.readers.left_over import unread
from slide_deploy.graph_checks.readers.limits import (
    MAX_RANK,
    check_node_count,
    checked_shape,
    short,
)
from slide_deploy.graph_checks.readers.onnx_dialect import DIALECT
from slide_deploy.graph_checks.readers.onnx_shapes import UNEXPRESSED, inferred_values
from slide_deploy.graph_checks.readers.onnx_sizes import clear_negative_sizes, fix_input_sizes
from slide_deploy.graph_checks.readers.onnx_tensors import TensorReader, type_name
from slide_deploy.graph_checks.readers.protobuf_budget import Budget
from slide_deploy.saved.untrusted import damaged, map_file

# protobuf cannot hold more in one message.
_MAX_FILE_BYTES = 2**31 - 1
_NESTED = 10  # subgraphs inside subgraphs
# Attributes of a ``Constant`` node: the field of their content, and its type if it is no tensor.
_LITERALS = {
    "value": ("t", ""),
    "value_ints": ("ints", "int64"),
    "value_int": ("i", "int64"),
    "value_floats": ("floats", "float32"),
    "value_float": ("f", "float32"),
}


def read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    """Read an ONNX file and the data files beside it; see ``readers``.

    The onnx library infers the shapes of intermediates from the sizes of the inputs.

    Raises:
        InputError: it is damaged, absurdly large, or names data outside its folder.
        MissingExtra: the onnx library is not installed.
    """
    model = _parse(path)
    clear_negative_sizes(model.graph, _NESTED)
    fix_input_sizes(model.graph, sizes or {})
    return _Reader(path, model).graph()


def _parse(path: Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtra("onnx", "onnx") from error
    content = map_file(path, path)
    if content.size > _MAX_FILE_BYTES:
        raise InputError(
            f"{path} is larger than 2 GiB, which no ONNX file can be: export it with its weights "
            f"in a file of their own."
        )
    Budget(path, content.data).check(onnx.ModelProto.DESCRIPTOR)
    message: Any = onnx.ModelProto
    try:
        model = message.FromString(content.data)  # a view: a copy of the weights would cost memory
    except DecodeError as error:
        raise damaged(path, "it is not a whole ONNX model") from error
    if not model.HasField("graph"):
        raise InputError(f"{path} holds no graph, so it is no ONNX model: check the file's name.")
    return model


class _Reader:
    """Builds the graph of one file."""

    def __init__(self, path: Path, model: Any) -> None:
        self._path = path
        self._model = model
        self._tensors = TensorReader(path)
        self._nodes: list[Node] = []
        self._constants: dict[str, Constant] = {}
        self._values: dict[str, Value] = {}
        self._bound: set[str] = set()

    def graph(self) -> Graph:
        """Build the graph of the whole file."""
        model = self._model
        self._body(model.graph, "", 0)
        inputs = self._interface(model.graph.input)
        outputs = self._interface(model.graph.output)
        self._values.update({value.name: value for value in (*inputs, *outputs)})
        declared: dict[str, Value] = {}
        for name, message in inferred_values(model, self._constants).items():
            inferred = self._value(name, message)
            if name in self._values:
                declared[name] = self._values[name]
            self._values[name] = _merged(inferred, self._values.get(name))
        files = (self._path, *sorted(self._tensors.external))
        return Graph(
            dialect=DIALECT,
            path=self._path,
            files=files,
            ir_version=model.ir_version,
            opsets={_domain(entry.domain): entry.version for entry in model.opset_import},
            inputs=tuple(value for value in inputs if value.name not in self._constants),
            outputs=tuple(self._values[value.name] for value in outputs),
            nodes=tuple(self._nodes),
            constants=self._constants,
            values=self._values,
            metadata={entry.key: entry.value for entry in model.metadata_props},
            bound=frozenset(self._bound),
            functions=tuple(f"{entry.domain}:{entry.name}" for entry in model.functions),
            function_dtypes=frozenset(self._function_dtypes()),
            declared=declared,
            left_over=tuple(self._left_over()),
        )

    def _function_dtypes(self) -> Iterator[str]:
        for function in self._model.functions:
            for node in function.node:
                for attribute in node.attribute:
                    if attribute.HasField("t"):
                        yield type_name(attribute.t.data_type)
                    elif attribute.name in ("to", "dtype"):
                        yield type_name(attribute.i)

    def _left_over(self) -> Iterator[LeftOver]:
        """Training graphs, which inference runtimes ignore, and unread external data."""
        for training in self._model.training_info:
            yield LeftOver("a training graph", training.ByteSize())
        for file, content in self._tensors.external.items():
            yield from unread(file.name, content, self._tensors.read[file])

    def _body(self, graph: Any, prefix: str, depth: int) -> None:
        """Add a graph; ``prefix`` names the node that runs it, and is empty for the main graph."""
        if depth > _NESTED:
            raise damaged(self._path, f"graphs are nested deeper than {_NESTED} levels")
        check_node_count(self._path, len(self._nodes) + len(graph.node))
        if len(graph.sparse_initializer):
            raise InputError(f"{self._path} holds sparse weights: export it with dense ones.")
        for tensor in graph.initializer:
            self._add_constant(tensor.name, tensor, unique=not prefix)
        for value in graph.value_info:
            self._values.setdefault(value.name, self._value(value.name, value.type))
        for index, node in enumerate(graph.node):
            name = prefix + (node.name or f"{node.op_type}_{index}")
            if node.op_type == "Constant" and len(node.output) == 1 and self._literal(node):
                continue
            self._add_node(name, node, depth)

    def _add_constant(self, name: str, tensor: Any, unique: bool) -> None:
        if unique and name in self._constants:
            raise damaged(self._path, f"two initialisers are called {short(name)}")
        self._constants[name] = self._tensors.constant(name, tensor)

    def _literal(self, node: Any) -> bool:
        """Store the tensor of a ``Constant`` node; False if it holds none."""
        import onnx

        held = {attribute.name: attribute for attribute in node.attribute}
        name = next((name for name in _LITERALS if name in held), None)
        if name is None:
            return False
        field, dtype = _LITERALS[name]
        content = getattr(held[name], field)
        tensor = onnx.numpy_helper.from_array(np.array(content, dtype)) if dtype else content
        self._add_constant(node.output[0], tensor, unique=False)
        return True

    def _add_node(self, name: str, node: Any, depth: int) -> None:
        inputs = list(node.input)
        attributes: dict[str, Attribute] = {}
        for attribute in node.attribute:
            single = [attribute.g] if attribute.HasField("g") else []
            for body in (*single, *attribute.graphs):
                self._body(body, f"{name}/", depth + 1)
                self._bound.update(value.name for value in body.input)
                # The node that runs a body reads the body's outputs.
                inputs.extend(value.name for value in body.output)
            held = _attribute(attribute)
            if held is not None:
                attributes[attribute.name] = held
        self._nodes.append(
            Node(
                name=name,
                operator=node.op_type,
                domain=_domain(node.domain),
                inputs=tuple(inputs),
                outputs=tuple(node.output),
                attributes=attributes,
            )
        )

    def _interface(self, values: Iterable[Any]) -> tuple[Value, ...]:
        return tuple(self._value(value.name, value.type) for value in values)

    def _value(self, name: str, message: Any) -> Value:
        kind = message.WhichOneof("value")
        if kind != "tensor_type":
            return Value(name, (kind or "undefined").removesuffix("_type"), None)
        tensor = message.tensor_type
        shape = None
        if tensor.HasField("shape"):
            if len(tensor.shape.dim) > MAX_RANK:
                raise damaged(self._path, f"{short(name)} has {len(tensor.shape.dim)} dimensions")
            shape = tuple(_dimension(size) for size in tensor.shape.dim)
            checked_shape(self._path, name, (size for size in shape if isinstance(size, int)))
        return Value(name, type_name(tensor.elem_type), shape)


def _domain(name: str) -> str:
    return name or DIALECT.domain


def _dimension(message: Any) -> Dimension:
    kind = message.WhichOneof("value")
    if kind == "dim_value":
        return int(message.dim_value)
    return str(message.dim_param) if kind == "dim_param" and message.dim_param else None


def _merged(inferred: Value, declared: Value | None) -> Value:
    """The inferred value; its open sizes are replaced by those that the file declares."""
    if declared is None or declared.shape is None:
        return inferred
    if inferred.shape is None:
        return Value(inferred.name, inferred.dtype, declared.shape)
    if len(inferred.shape) != len(declared.shape):
        return inferred
    shape: Shape = tuple(
        theirs if ours is None or str(ours).startswith(UNEXPRESSED) else ours
        for ours, theirs in zip(inferred.shape, declared.shape, strict=True)
    )
    return Value(inferred.name, inferred.dtype, shape)


def _attribute(attribute: Any) -> Attribute | None:
    """The numbers or text of an attribute; None for tensors, graphs and types."""
    readers: Mapping[int, Any] = {
        1: lambda: attribute.f,
        2: lambda: attribute.i,
        3: lambda: attribute.s.decode("utf-8", "replace"),
        6: lambda: tuple(attribute.floats),
        7: lambda: tuple(attribute.ints),
        8: lambda: tuple(item.decode("utf-8", "replace") for item in attribute.strings),
    }
    reader = readers.get(attribute.type)
    return None if reader is None else reader()
