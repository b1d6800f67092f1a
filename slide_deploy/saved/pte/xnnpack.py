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

_TYPES = """
float32 float16 int8 uint8 int32 int8 int32 int4 int8 int4 int8 int32 float32 bfloat16
"""
# Element types by their number, from 1.
_DTYPES = dict(enumerate(_TYPES.split(), 1))


@dataclass(frozen=True)
class Layout:
    """Field numbers in the table of an operator.

    Attributes:
        inputs: fields of the indices of its inputs, in the operator's order.
        output: field of the index of its output.
        integers: fields of integers, by name.
        lists: fields of lists of integers, by name.
        floats: fields of floats, by name.
    """

    inputs: tuple[int, ...]
    output: int
    integers: Mapping[str, int] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)
    floats: Mapping[str, int] = field(default_factory=dict)


_ONE = Layout((0,), 1)
_TWO = Layout((0, 1), 2)
_CONVOLUTION_FIELDS = (
    *("top", "right", "bottom", "left", "kernel_height", "kernel_width"),
    *("stride_height", "stride_width", "dilation_height", "dilation_width"),
    *("group_inputs", "group_outputs", "groups"),
)
_CONVOLUTION = Layout(
    (15, 16, 17), 18, {name: place for place, name in enumerate(_CONVOLUTION_FIELDS)}
)

_OPERATORS = """
Add FullyConnected Softmax Sigmoid StaticTranspose Clamp Conv2d Div StaticResizeBilinear2D
StaticConstantPad AvgPooling2d Minimum DepthwiseConv2d MaxPooling2d Multiply Subtract Floor Convert
GlobalAvgPooling2d StaticReshape ArgMaxPooling2d SquareRoot Ceiling Hardswish LeakyReLU Maximum
Negate Square ELU Abs PReLU Concatenate2 Concatenate3 Concatenate4 StaticSlice
ScaledDotProductAttention BatchMatrixMultiply Concatenate5 ConvTranspose2d ReciprocalSquareRoot Log
Gelu Tanh Exp Sin Copy Cos
"""
# By their number in the union, from 1.
_NUMBERED = dict(enumerate(_OPERATORS.split(), 1))
# Every other operator has one input.
_LAYOUTS: Mapping[str, Layout] = {
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Div"), _TWO),
    **dict.fromkeys(("Minimum", "Maximum", "PReLU", "BatchMatrixMultiply"), _TWO),
    **dict.fromkeys(("Conv2d", "DepthwiseConv2d", "ConvTranspose2d"), _CONVOLUTION),
    **dict.fromkeys(("AvgPooling2d", "MaxPooling2d"), Layout((10,), 11)),
    **dict.fromkeys(("LeakyReLU", "ELU"), Layout((1,), 2)),
    "ArgMaxPooling2d": Layout((6,), 7),
    # Without the fields of other counts: a missing field reads as 0, the index of a value.
    "Concatenate2": Layout((1, 2), 5, {"axis": 0}),
    "Concatenate3": Layout((1, 2, 3), 5, {"axis": 0}),
    "Concatenate4": Layout((1, 2, 3, 4), 5, {"axis": 0}),
    "Concatenate5": Layout((1, 2, 3, 4, 7), 5, {"axis": 0}),
    "FullyConnected": Layout((0, 1, 2), 3, {"flags": 4}),
    "ScaledDotProductAttention": Layout((0, 1, 2, 3, 4), 5),
    "StaticConstantPad": Layout((3,), 4, {}, {"before": 0, "behind": 1}, {"value": 2}),
    "StaticReshape": Layout((2,), 3, lists={"shape": 1}),
    "StaticResizeBilinear2D": Layout((2,), 3),
    "StaticSlice": Layout((3,), 4),
    "StaticTranspose": Layout((2,), 3, lists={"perm": 1}),
}


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
    """An operator of the graph, named as in the schema, without the prefix XNN.

    Its inputs and its output are indices of values; an optional input may be ``MISSING``. Its
    parameters are integers, lists of integers and floats, by name.
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
    """Read the payload of a delegate, shape (bytes,).

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
    dtype = _DTYPES.get(held.number(0, "int16"), "undefined")
    return held.number(6), XnnValue(dtype, held.numbers(2, "uint32"), held.number(3))


def _node(table: FlatTable) -> XnnNode:
    kind, held = table.union(0)
    operator = _NUMBERED.get(kind)
    if held is None or operator is None:
        raise ValueError("it holds an unknown operator of XNNPACK")
    layout = _LAYOUTS.get(operator, _ONE)
    return XnnNode(
        operator,
        tuple(held.number(place) for place in layout.inputs),
        held.number(layout.output),
        {name: held.number(place) for name, place in layout.integers.items()},
        {name: held.numbers(place, "uint32") for name, place in layout.lists.items()},
        {name: held.number(place, "float32") for name, place in layout.floats.items()},
    )
