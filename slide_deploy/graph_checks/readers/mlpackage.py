"""Read Core ML packages.

MIL has named parameters: ``conv(x=..., weight=..., strides=...)``. Tensors among them become
inputs, in one order for all operators. Other literals become attributes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

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
from slide_deploy.graph_checks.readers.left_over import unread
from slide_deploy.graph_checks.readers.limits import check_node_count, short
from slide_deploy.graph_checks.readers.mlpackage_dialect import DIALECT
from slide_deploy.graph_checks.readers.protobuf_budget import Budget
from slide_deploy.saved.mlpackage import (
    Argument,
    Feature,
    Function,
    NamedType,
    Operation,
    PackageBlock,
    TensorType,
    ValueReference,
    open_package,
)
from slide_deploy.saved.mlpackage import PackageConstant as Literal
from slide_deploy.saved.mlpackage.folder import find_model
from slide_deploy.saved.mlpackage.protobuf import model_messages
from slide_deploy.saved.untrusted import damaged, map_file

# Positions among the inputs: weights are second and biases third, as in the other formats.
_TENSORS = (
    *("x", "values", "cond", "data", "query", "a", "loop_vars", "input", "quantized_data"),
    *("y", "weight", "key", "b", "indices", "lut", "scale"),
    *("bias", "value", "gamma", "beta", "mean", "variance", "updates", "attn_mask"),
    *("zero_point", "offset"),
)
_NESTED = 10
# A literal with more elements is a tensor whatever its parameter is called.
_LARGEST_ATTRIBUTE = 64


def read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    """Read a package; see ``readers``.

    Raises:
        InputError: it is damaged, absurdly large, or names files outside itself.
        MissingExtra: coremltools, whose message definitions are used, is not installed.
    """
    model = find_model(path)
    Budget(path, map_file(path, model).data).check(model_messages().Model.DESCRIPTOR)
    package = open_package(path)
    reader = _Reader(path)
    for function in package.functions.values():
        reader.function(function, "" if function is package.main else f"{function.name}/")
    graph = Graph(
        dialect=DIALECT,
        path=path,
        files=tuple(sorted(file for file in path.rglob("*") if file.is_file())),
        ir_version=package.spec.specificationVersion,
        opsets={DIALECT.domain: package.main.opset_version},
        inputs=tuple(map(_value, package.main.inputs)),
        outputs=tuple(
            reader.values.get(name, Value(name, "undefined", None))
            for name in package.main.block.outputs
        ),
        nodes=tuple(reader.nodes),
        constants=reader.constants,
        values=reader.values,
        metadata=package.user_metadata,
        bound=frozenset(reader.bound),
        described_inputs=tuple(map(_described, package.inputs)),
        described_outputs=tuple(map(_described_output, package.outputs)),
        left_over=tuple(
            found
            for file_name, content, places in package.weights.places
            for found in unread(PurePosixPath(file_name).name, content, places)
        ),
    )
    return with_sizes(graph, sizes or {})


@dataclass(eq=False)
class _Reader:
    path: Path
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    bound: set[str] = field(default_factory=set)
    _literals: dict[str, Literal] = field(default_factory=dict)
    _steering: set[str] = field(default_factory=set)

    def function(self, function: Function, prefix: str) -> None:
        """Add a function to the graph; ``prefix`` is empty for the main function."""
        self._declare(function.inputs, prefix)
        if prefix:
            self.bound.update(prefix + value.name for value in function.inputs)
        self._block(function.block, prefix, 0)
        tensors = {name for node in self.nodes for name in node.inputs}
        for name, literal in self._literals.items():
            if name in tensors or name not in self._steering:
                self.constants[name] = _constant(name, literal)
        self._literals.clear()

    def _block(self, block: PackageBlock, prefix: str, depth: int) -> None:
        if depth > _NESTED:
            raise damaged(self.path, f"blocks are nested deeper than {_NESTED} levels")
        check_node_count(self.path, len(self.nodes) + len(block.operations))
        for operation in block.operations:
            self._declare(operation.outputs, prefix)
            if operation.type == "const":
                self._const(operation, prefix)
            else:
                self._node(operation, prefix, depth)

    def _declare(self, values: tuple[NamedType, ...], prefix: str) -> None:
        for value in values:
            self.values[prefix + value.name] = _value(value, prefix)

    def _const(self, operation: Operation, prefix: str) -> None:
        held = operation.attributes.get("val")
        if len(operation.outputs) != 1 or held is None:
            raise damaged(self.path, f"the constant {short(operation.name)} has no value")
        if isinstance(held, Literal):
            self._literals[prefix + operation.outputs[0].name] = held

    def _node(self, operation: Operation, prefix: str, depth: int) -> None:
        name = prefix + operation.name
        inputs: list[str] = []
        attributes: dict[str, Attribute] = {}
        given = [
            (parameter, argument)
            for parameter in sorted(operation.inputs, key=_position)
            for argument in operation.inputs[parameter]
        ]
        # Old constexpr operators have attributes instead of inputs.
        given += sorted(operation.attributes.items(), key=lambda item: _position(item[0]))
        for parameter, argument in given:
            steering = self._attribute(parameter, argument, prefix)
            if steering is not None:
                attributes[parameter] = steering
            else:
                inputs.extend(self._names(argument, f"{name}.{parameter}", prefix))
        for block in operation.blocks:
            self._declare(block.inputs, prefix)
            self.bound.update(prefix + value.name for value in block.inputs)
            self._block(block, prefix, depth + 1)
            # The operation that runs a block reads the block's outputs.
            inputs.extend(prefix + output for output in block.outputs)
        self.nodes.append(
            Node(
                name=name,
                operator=operation.type,
                domain=DIALECT.domain,
                inputs=tuple(inputs),
                outputs=tuple(prefix + output.name for output in operation.outputs),
                attributes=attributes,
            )
        )

    def _attribute(self, parameter: str, argument: Argument, prefix: str) -> Attribute | None:
        """The value of a parameter that is a literal; None for tensors."""
        name = prefix + argument.name if isinstance(argument, ValueReference) else ""
        literal = self._literals.get(name) if name else argument
        if parameter in _TENSORS or not isinstance(literal, Literal):
            return None
        if literal.blob is not None or literal.stored.size > _LARGEST_ATTRIBUTE:
            return None
        self._steering.add(name)
        items = tuple(literal.numpy().ravel().tolist())
        return items if literal.shape else items[0]

    def _names(self, argument: Argument, name: str, prefix: str) -> Iterator[str]:
        """The names of an argument's values; a literal becomes a new constant."""
        if isinstance(argument, ValueReference):
            yield prefix + argument.name
        elif isinstance(argument, Literal):
            self._literals[name] = argument
            self.values[name] = Value(name, argument.dtype.name, argument.shape)
            yield name
        else:
            for item in argument:
                yield from self._names(item, name, prefix)


def _position(parameter: str) -> tuple[int, str]:
    known = parameter in _TENSORS
    return (_TENSORS.index(parameter) if known else len(_TENSORS)), parameter


def _described(feature: Feature) -> Value:
    """An input as an application sees it."""
    shape = tuple(size if isinstance(size, int) else None for size in feature.shape)
    if feature.kind == "image":  # Core ML makes a batch of one out of it, in the program's type
        return Value(feature.name, "undefined", (1, *shape))
    return Value(feature.name, feature.dtype or feature.kind, shape)


def _described_output(feature: Feature) -> Value:
    """An output as an application sees it; without a shape, which converters may leave out."""
    value = _described(feature)
    return value if value.shape else Value(value.name, value.dtype, None)


def _value(named: NamedType, prefix: str = "") -> Value:
    if isinstance(named.type, TensorType):
        return Value(prefix + named.name, named.type.dtype.name, named.type.shape)
    return Value(prefix + named.name, named.type.kind, None)


def _constant(name: str, literal: Literal) -> Constant:
    def load() -> NDArray[np.uint8]:
        if literal.stored.dtype == object:  # strings
            return np.frombuffer("\0".join(map(str, literal.stored)).encode(), np.uint8)
        return np.ascontiguousarray(literal.stored).view(np.uint8)

    place = literal.blob
    source = name if place is None else f"{place.file_name}:{place.offset}"
    return Constant(name, literal.dtype.name, literal.shape, literal.stored.nbytes, source, load)
