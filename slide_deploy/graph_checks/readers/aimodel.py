"""Read Core AI assets.

Apple's library decodes the program in a separate process. The weights are read from the file. Core
AI passes the parameters of an operator, such as strides, as inputs; for operators that rules depend
on they become attributes here.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.graph import (
    Attribute,
    Constant,
    Graph,
    LeftOver,
    Node,
    Shape,
    Value,
    bits_of,
    with_sizes,
)
from slide_deploy.graph_checks.readers.aimodel_dialect import DIALECT
from slide_deploy.graph_checks.readers.limits import check_bytes, checked_shape, short
from slide_deploy.saved.aimodel import open_asset, program_of
from slide_deploy.saved.aimodel.bytecode import Place, resources
from slide_deploy.saved.untrusted import damaged, map_file

# Attribute name for each input that is a parameter, by operator and position.
_CONVOLUTION = {2: "strides", 3: "dilations", 4: "groups"}
_TRANSPOSED = {2: "strides", 3: "pads", 4: "dilations", 5: "output_pads", 6: "groups"}
_STEERING = {
    **dict.fromkeys(("conv2d", "conv3d"), _CONVOLUTION),
    **dict.fromkeys(("conv_transpose2d", "conv_transpose3d"), _TRANSPOSED),
    "concat": {0: "axis"},
    "pad": {1: "padding", 2: "value"},
    "transpose": {1: "permutation"},
    "reshape": {1: "shape"},
}
# Attributes with other names than in the other formats.
_WORDS = {"padding_mode": "mode"}


def read(path: Path, sizes: Mapping[str, Shape] | None = None) -> Graph:
    """Read an asset; see ``readers``.

    Raises:
        InputError: it is damaged, absurdly large, or names files outside itself.
        MissingExtra: coreai-core, whose parser is used, is not installed.
    """
    asset = open_asset(path)
    content = map_file(path, asset.program)
    stored = resources(path, content)
    program = program_of(asset)
    values = {
        name: Value(name, dtype, _shape(path, name, shape))
        for name, (dtype, shape) in program["values"].items()
    }
    constants = {
        name: _constant(path, values[name], held, stored, content)
        for name, held in program["constants"].items()
    }
    nodes = tuple(_node(each, constants) for each in program["operations"])
    outputs, extra = _outputs(program["outputs"], values)
    read_by = {name for node in (*nodes, *extra) for name in node.inputs}
    steering = {name for each in program["operations"] for name in each["inputs"]} - read_by
    named = {each.get("resource") for each in program["constants"].values()}
    graph = Graph(
        dialect=DIALECT,
        path=path,
        files=tuple(sorted(file for file in path.rglob("*") if file.is_file())),
        ir_version=asset.version,
        opsets={DIALECT.domain: program["system"]},
        inputs=tuple(values[name] for name in program["inputs"]),
        outputs=outputs,
        nodes=(*nodes, *extra),
        constants={name: held for name, held in constants.items() if name not in steering},
        values={**values, **{each.name: each for each in outputs}},
        metadata=asset.metadata,
        bound=frozenset(program["bound"]),
        left_over=tuple(
            LeftOver(f"the resource {short(name)}", end - start)
            for name, (start, end) in stored.items()
            if name not in named
        ),
    )
    return with_sizes(graph, sizes or {})


def _shape(path: Path, name: str, sizes: list[int | None] | None) -> Shape | None:
    if sizes is None:
        return None
    checked_shape(path, name, (1 if size is None else size for size in sizes))
    return tuple(sizes)


def _outputs(
    named: list[tuple[str, str]], values: Mapping[str, Value]
) -> tuple[tuple[Value, ...], tuple[Node, ...]]:
    """The outputs under the names that callers use, and the nodes that rename the values."""
    outputs, nodes = [], []
    for name, value in named:
        outputs.append(Value(name, values[value].dtype, values[value].shape))
        if name != value:
            nodes.append(Node(f"output {name}", "output", DIALECT.domain, (value,), (name,)))
    return tuple(outputs), tuple(nodes)


def _node(operation: Mapping[str, Any], constants: Mapping[str, Constant]) -> Node:
    operator, inputs = operation["operator"], []
    attributes: dict[str, Attribute] = {
        _WORDS.get(name, name): held for name, held in operation["attributes"].items()
    }
    for place, name in enumerate(operation["inputs"]):
        word = _STEERING.get(operator, {}).get(place, "")
        numbers = constants[name].array() if word and name in constants else None
        if numbers is None:
            inputs.append(name)
        else:
            listed = tuple(each.item() for each in numbers.ravel())
            attributes[word] = listed if numbers.ndim else listed[0]
    outputs = tuple(operation["outputs"])
    return Node(operation["name"], operator, DIALECT.domain, tuple(inputs), outputs, attributes)


def _constant(
    path: Path,
    value: Value,
    held: Mapping[str, str],
    stored: Mapping[str, Place],
    content: NDArray[np.uint8],
) -> Constant:
    shape = tuple(size for size in value.shape or () if isinstance(size, int))
    bits = bits_of(value.dtype) or 8
    if "resource" in held:
        source = held["resource"]
        if source not in stored:
            raise damaged(path, f"{short(value.name)} has no numbers, {short(source)} is missing")
        start, end = stored[source]
        numbers = content[start:end]
    else:
        source = value.name
        try:
            numbers = np.frombuffer(base64.b64decode(held["bytes"], validate=True), np.uint8)
        except binascii.Error as error:
            raise damaged(path, f"{short(value.name)} has no numbers") from error
    needed = check_bytes(path, value.name, shape, bits, numbers.size)
    return Constant(value.name, value.dtype, shape, needed, source, lambda: numbers[:needed])
