"""The graph in a ``.pte`` file that XNNPACK runs, from the payload of a delegate.

Field numbers are those of ExecuTorch's ``backends/xnnpack/serialization/schema.fbs``. The payload
starts with a header of 30 bytes, which locates the graph and the weights::

    4 zeros, "XH00", u16 30, u32 first byte of the graph, u32 its size, u32 first byte of the
    weights, u64 their size
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slide_deploy.saved.flatbuffer import Flatbuffer, FlatTable

MISSING = 0xFFFFFFFF
"""The index of an optional input that an operator does not have."""

_TYPES = {
    1: "float32",
    2: "float16",
    3: "int8",
    4: "uint8",
    5: "int32",
    6: "int8",
    7: "int32",
    8: "int4",
    9: "int8",
    10: "int4",
    11: "int8",
    12: "int32",
    13: "float32",
    14: "bfloat16",
}


@dataclass(frozen=True)
class Layout:
    """Field numbers in the table of an operator.

    Attributes:
        inputs: fields of the indices of its inputs, in the operator's order.
        output: field of the index of its output.
        flags: field of its flags.
        integers: fields of integers, by name.
        lists: fields of lists of integers, by name.
        floats: fields of floats, by name.
    """

    inputs: tuple[int, ...]
    output: int
    flags: int
    integers: Mapping[str, int] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)
    floats: Mapping[str, int] = field(default_factory=dict)


_ONE = Layout((0,), 1, 2)
_TWO = Layout((0, 1), 2, 3)
_CONVOLUTION_FIELDS = (
    *("top", "right", "bottom", "left", "kernel_height", "kernel_width"),
    *("stride_height", "stride_width", "dilation_height", "dilation_width"),
    *("group_inputs", "group_outputs", "groups"),
)
_CONVOLUTION = Layout(
    (15, 16, 17), 18, 19, {name: place for place, name in enumerate(_CONVOLUTION_FIELDS)}
)
_POOLING = Layout((10,), 11, 12)
_CONCATENATE = Layout((1, 2, 3, 4, 7), 5, 6, {"axis": 0})

# By their number in the union, from 1.
_OPERATORS: tuple[tuple[str, Layout], ...] = (
    ("Add", _TWO),
    ("FullyConnected", Layout((0, 1, 2), 3, 4)),
    ("Softmax", _ONE),
    ("Sigmoid", _ONE),
    ("StaticTranspose", Layout((2,), 3, 4, lists={"perm": 1})),
    ("Clamp", _ONE),
    ("Conv2d", _CONVOLUTION),
    ("Div", _TWO),
    ("StaticResizeBilinear2D", Layout((2,), 3, 4, {"height": 0, "width": 1})),
    (
        "StaticConstantPad",
        Layout((3,), 4, 5, lists={"before": 0, "behind": 1}, floats={"value": 2}),
    ),
    ("AvgPooling2d", _POOLING),
    ("Minimum", _TWO),
    ("DepthwiseConv2d", _CONVOLUTION),
    ("MaxPooling2d", _POOLING),
    ("Multiply", _TWO),
    ("Subtract", _TWO),
    ("Floor", _ONE),
    ("Convert", _ONE),
    ("GlobalAvgPooling2d", _ONE),
    ("StaticReshape", Layout((2,), 3, 4, lists={"shape": 1})),
    ("ArgMaxPooling2d", Layout((6,), 7, 9)),
    ("SquareRoot", _ONE),
    ("Ceiling", _ONE),
    ("Hardswish", _ONE),
    ("LeakyReLU", Layout((1,), 2, 3)),
    ("Maximum", _TWO),
    ("Negate", _ONE),
    ("Square", _ONE),
    ("ELU", Layout((1,), 2, 3)),
    ("Abs", _ONE),
    ("PReLU", _TWO),
    ("Concatenate2", _CONCATENATE),
    ("Concatenate3", _CONCATENATE),
    ("Concatenate4", _CONCATENATE),
    ("StaticSlice", Layout((3,), 4, 5, lists={"offsets": 1, "sizes": 2})),
    ("ScaledDotProductAttention", Layout((0, 1, 2, 3, 4), 5, 6)),
    ("BatchMatrixMultiply", _TWO),
    ("Concatenate5", _CONCATENATE),
    ("ConvTranspose2d", _CONVOLUTION),
    ("ReciprocalSquareRoot", _ONE),
    ("Log", _ONE),
    ("Gelu", _ONE),
    ("Tanh", _ONE),
    ("Exp", _ONE),
    ("Sin", _ONE),
    ("Copy", _ONE),
    ("Cos", _ONE),
)
_INPUTS_OF_CONCATENATE = {f"Concatenate{count}": count for count in (2, 3, 4, 5)}


@dataclass(frozen=True)
class XnnValue:
    """A tensor of the graph.

    Attributes:
        dtype: in numpy's spelling.
        sizes: of its axes.
        constant: index of its bytes among the constants; 0 for none.
    """

    dtype: str
    sizes: tuple[int, ...]
    constant: int


@dataclass(frozen=True)
class XnnNode:
    """An operator of the graph.

    Attributes:
        operator: its name in the schema, without the prefix XNN.
        inputs: indices of values; ``MISSING`` for an optional one that it does not have.
        output: index of the value that it computes.
        integers: integer attributes by name, with "flags".
        lists: lists of integers, by name.
        floats: by name; "lowest" and "highest" if the result is clamped.
    """

    operator: str
    inputs: tuple[int, ...]
    output: int
    integers: Mapping[str, int]
    lists: Mapping[str, tuple[int, ...]]
    floats: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class XnnGraph:
    """The graph that XNNPACK runs.

    Attributes:
        nodes: in the order of execution.
        values: by index.
        inputs: indices of its input values, in order.
        outputs: indices of its output values, in order.
        constants: by index: first byte in the payload and number of bytes, or a name in the file.
        places: ranges of the payload that were read: first byte, and the one after the last.
    """

    nodes: tuple[XnnNode, ...]
    values: Mapping[int, XnnValue]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: tuple[tuple[int, int] | str, ...]
    places: tuple[tuple[int, int], ...]


def read_xnnpack(payload: NDArray[np.uint8]) -> XnnGraph:
    """Read the payload of a delegate.

    Args:
        payload: shape (bytes,).

    Raises:
        ValueError: if it is not such a payload, or damaged; the message is a clause.
    """
    if payload.size < 30 or payload[4:8].tobytes() != b"XH00":
        raise ValueError("its XNNPACK payload has an unknown header")
    whole = Flatbuffer(payload)
    start, size, weights, amount = (
        whole.number(kind, at)
        for kind, at in (("uint32", 10), ("uint32", 14), ("uint32", 18), ("uint64", 22))
    )
    if start + size > payload.size or weights + amount > payload.size:
        raise ValueError("its XNNPACK payload ends before its weights do")
    buffer = Flatbuffer(payload[start : start + size])
    root = buffer.root()
    values = dict(_value(each) for each in root.tables(2))
    nodes = tuple(_node(each) for each in root.tables(1))
    inputs, outputs = (tuple(sorted(root.numbers(field, "uint32"))) for field in (4, 5))
    constants: list[tuple[int, int] | str] = []
    for each in root.tables(8):
        offset, length, name = each.number(0, "uint64"), each.number(1, "uint64"), each.text(2)
        if not name and offset + length > amount:
            raise ValueError("a weight of XNNPACK ends after the end of the weights")
        constants.append(name or (weights + offset, length))
    read = {*inputs, *outputs, *(node.output for node in nodes)}
    read |= {number for node in nodes for number in node.inputs if number != MISSING}
    if not read <= values.keys():
        raise ValueError("an operator of XNNPACK names a value that its graph does not have")
    if any(value.constant >= max(len(constants), 1) for value in values.values()):
        raise ValueError("a value of XNNPACK names a constant that its graph does not have")
    used = {value.constant for value in values.values()}
    places = [(0, 30), (start, start + size)]
    places += [
        (place[0], sum(place))
        for number, place in enumerate(constants)
        if number in used and not isinstance(place, str)
    ]
    return XnnGraph(nodes, values, inputs, outputs, tuple(constants), tuple(places))


def _value(table: FlatTable) -> tuple[int, XnnValue]:
    kind, held = table.union(0)
    if held is not None and kind == 2:  # a tensor with scales, as in files of low precision
        held = held.table(0)
    if held is None:
        raise ValueError("a value of XNNPACK has no type and no shape")
    dtype = _TYPES.get(held.number(0, "int16"), "undefined")
    return held.number(6), XnnValue(dtype, held.numbers(2, "uint32"), held.number(3))


def _node(table: FlatTable) -> XnnNode:
    kind, held = table.union(0)
    if held is None or not 1 <= kind <= len(_OPERATORS):
        raise ValueError("it holds an unknown operator of XNNPACK")
    operator, layout = _OPERATORS[kind - 1]
    # A missing field is read as 0, which is also the index of a value.
    inputs = [held.number(place) for place in layout.inputs]
    inputs = inputs[: _INPUTS_OF_CONCATENATE.get(operator, len(inputs))]
    floats = {name: held.number(place, "float32") for name, place in layout.floats.items()}
    limits = table.table(3)
    if limits is not None:
        floats |= {"lowest": limits.number(0, "float32"), "highest": limits.number(1, "float32")}
    return XnnNode(
        operator,
        tuple(inputs),
        held.number(layout.output),
        {
            "flags": held.number(layout.flags),
            **{name: held.number(place) for name, place in layout.integers.items()},
        },
        {name: held.numbers(place, "uint32") for name, place in layout.lists.items()},
        floats,
    )
