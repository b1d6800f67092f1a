"""The program of a ``.pte`` file: values, instructions, delegates, constants.

Field numbers are those of ExecuTorch's schema, ``exir/_serialize/program.fbs``. If bytes 8 to 12 of
a file are ``eh00``, a header follows with the sizes of the program and the segments::

    u32 bytes of the header, u64 bytes of the program,
    u64 first byte of the segments, u64 bytes of all segments

Constants and the payloads of delegates are in segments, or inside the program.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from slide_deploy.saved.flatbuffer import Flatbuffer, FlatTable, Place

_HEADER = b"eh00"
_KERNEL, _DELEGATE = 1, 2
_INSTRUCTIONS = {3: "move", 4: "jump_false", 5: "free"}
# Element types of ExecuTorch by number, in numpy's spelling.
TYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
    15: "bfloat16",
    27: "uint16",
    28: "uint32",
    29: "uint64",
}


@dataclass(frozen=True)
class PteTensor:
    """A tensor of a method.

    Attributes:
        dtype: in numpy's spelling; "undefined" for an unknown type.
        sizes: of its axes; upper bounds if they are open.
        is_open: whether its sizes may be smaller.
        buffer: index of its bytes among the constants; 0 for none.
        is_row_major: whether its memory layout is row-major.
    """

    dtype: str
    sizes: tuple[int, ...]
    is_open: bool = False
    buffer: int = 0
    is_row_major: bool = True


@dataclass(frozen=True)
class Several:
    """A list of values by index, in which -1 is a missing value.

    Attributes:
        items: indices of values.
        are_tensors: whether they are tensors; otherwise they are numbers.
    """

    items: tuple[int, ...]
    are_tensors: bool


Held: TypeAlias = PteTensor | Several | int | float | bool | str | tuple[float, ...] | None
"""The content of a method's value."""


@dataclass(frozen=True)
class Instruction:
    """One step of a method.

    Attributes:
        operator: ``aten::add.out`` for example; empty for a delegate.
        arguments: indices of values, with the outputs at the end.
        delegate: its index; None for an operator.
    """

    operator: str
    arguments: tuple[int, ...]
    delegate: int | None = None


@dataclass(frozen=True)
class PteDelegate:
    """A part of a method that another library runs.

    Attributes:
        id: of the library, ``XnnpackBackend`` for example.
        payload: its input data, shape (bytes,).
        start: first byte of the payload in the file.
        settings: the settings of its compilation, as bytes by key.
    """

    id: str
    payload: NDArray[np.uint8]
    start: int
    settings: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A method of a file; its inputs and outputs are indices of its values."""

    name: str
    values: tuple[Held, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    instructions: tuple[Instruction, ...]
    delegates: tuple[PteDelegate, ...]


@dataclass(frozen=True, eq=False)
class PteProgram:
    """A whole file.

    Attributes:
        content: its bytes.
        version: of the schema.
        methods: by name.
        constants: for each buffer index, its first byte in ``content`` and the end of the range in
            which it must lie.
        named: data that delegates load by name: first byte and number of bytes.
        places: ranges of the file that were read: first byte, and the one after the last.
    """

    content: NDArray[np.uint8]
    version: int
    methods: dict[str, Method]
    constants: tuple[Place, ...]
    named: dict[str, tuple[int, int]]
    places: tuple[Place, ...]

    def text_of(self, method: str) -> str:
        """Return the string that a method without inputs returns; empty if it returns none."""
        found = self.methods.get(method)
        held = found.values[found.outputs[0]] if found is not None and found.outputs else None
        return held if isinstance(held, str) else ""


def read_program(content: NDArray[np.uint8]) -> PteProgram:
    """Read a file from its bytes, shape (bytes,).

    Raises:
        ValueError: if it is not a ``.pte`` file, or damaged; the message is a clause.
    """
    return _Reader(content).program()


def map_program(path: Path) -> PteProgram:
    """Read a file through a memory map, which loads its weights when they are used.

    Raises:
        ValueError: if it is not a ``.pte`` file, or damaged; the message is a clause.
    """
    return read_program(np.memmap(path, np.uint8, "r"))


class _Reader:
    def __init__(self, content: NDArray[np.uint8]) -> None:
        self._content = content
        self._base, self._segments_end, size = 0, 0, content.size
        if content.size < 8:
            raise ValueError("it ends before its header does")
        whole = Flatbuffer(content)
        if content[8:12].tobytes() == _HEADER:
            length, size = whole.number("uint32", 12), whole.number("uint64", 16)
            self._base = whole.number("uint64", 24)
            self._segments_end = self._base + (whole.number("uint64", 32) if length >= 32 else 0)
            if size > content.size or self._segments_end > content.size:
                raise ValueError("it ends before its segments do")
            if self._base and self._base < size:
                raise ValueError("its segments start inside its program")
        self._buffer = Flatbuffer(content[:size])
        if self._buffer.identifier[:2] != b"ET":
            raise ValueError("its bytes are not an ExecuTorch program")
        self._places = [(0, size)]
        self._root = self._buffer.root()
        self._segments = [
            self._segment(each.number(0, "uint64"), each.number(1, "uint64"))
            for each in self._root.tables(4)
        ]
        self._inline = tuple(self._root.tables(3))

    def program(self) -> PteProgram:
        """Read the whole file."""
        methods = [self._method(each) for each in self._root.tables(1)]
        named = {each.text(0): self._use(each.number(1)) for each in self._root.tables(7)}
        constants = self._constants()
        if len({method.name for method in methods}) < len(methods):
            raise ValueError("two of its methods have one name")
        return PteProgram(
            self._content,
            self._root.number(0),
            {method.name: method for method in methods},
            constants,
            named,
            tuple(self._places),
        )

    def _segment(self, offset: int, size: int) -> tuple[int, int]:
        start = self._base + offset
        if start + size > self._content.size or not self._base:
            raise ValueError("one of its segments ends after the end of the file")
        return start, size

    def _use(self, index: int) -> tuple[int, int]:
        """Return the range of a segment, and record that it was read."""
        if index >= len(self._segments):
            raise ValueError("it points to a segment that it does not have")
        start, size = self._segments[index]
        self._places.append((start, start + size))
        return start, size

    def _constants(self) -> tuple[Place, ...]:
        held = self._root.table(5)
        offsets = () if held is None else held.numbers(1, "uint64")
        if held is None or not offsets:
            return tuple(each.bytes(0) for each in self._root.tables(2))
        index = held.number(0)
        if index >= len(self._segments):
            raise ValueError("its constants are in a segment that it does not have")
        start, size = self._segments[index]
        return tuple((start + offset, start + size) for offset in offsets)

    def _method(self, table: FlatTable) -> Method:
        values = tuple(self._value(each) for each in table.tables(2))
        operators = [f"{each.text(0)}.{each.text(1)}".rstrip(".") for each in table.tables(6)]
        delegates = tuple(self._delegate(each) for each in table.tables(7))
        steps = tuple(
            self._instruction(each, operators, len(delegates), len(values))
            for chain in table.tables(5)
            for each in chain.tables(2)
        )
        inputs, outputs = table.numbers(3, "int32"), table.numbers(4, "int32")
        if any(not 0 <= number < len(values) for number in (*inputs, *outputs)):
            raise ValueError("a method takes or returns a value that it does not have")
        for held in values:
            if isinstance(held, Several) and any(
                not -1 <= item < len(values) for item in held.items
            ):
                raise ValueError("a list names a value that its method does not have")
        return Method(table.text(0), values, inputs, outputs, steps, delegates)

    def _value(self, table: FlatTable) -> Held:
        kind, held = table.union(0)
        if held is None or kind == 1:
            return None
        if kind == 5:
            return _tensor(held)
        if kind in (7, 10, 11):
            return Several(held.numbers(0, "int64" if kind == 7 else "int32"), kind != 7)
        if kind == 2:
            return int(held.number(0, "int64"))
        if kind == 3:
            return bool(held.number(0, "uint8"))
        if kind == 4:
            return float(held.number(0, "float64"))
        if kind == 6:
            return held.text(0)
        if kind == 9:
            return held.numbers(0, "uint8")
        return held.numbers(0, "float64") if kind == 8 else None

    def _instruction(
        self, table: FlatTable, operators: list[str], delegates: int, values: int
    ) -> Instruction:
        kind, held = table.union(0)
        if held is None:
            raise ValueError("one of its instructions is empty")
        if kind not in (_KERNEL, _DELEGATE):
            return Instruction(_INSTRUCTIONS.get(kind, "unknown"), ())
        index, arguments = held.number(0, "int32"), held.numbers(1, "int32")
        if not 0 <= index < (len(operators) if kind == _KERNEL else delegates):
            raise ValueError("an instruction names an operator or delegate that it does not have")
        if any(not 0 <= number < values for number in arguments):
            raise ValueError("an instruction names a value that its method does not have")
        if kind == _KERNEL:
            return Instruction(operators[index], arguments)
        return Instruction("", arguments, index)

    def _delegate(self, table: FlatTable) -> PteDelegate:
        where = table.table(1)
        index = 0 if where is None else where.number(1)
        if where is not None and where.number(0, "uint8"):
            start, size = self._use(index)
            end = start + size
        elif index < len(self._inline):
            start, end = self._inline[index].bytes(0)
        else:
            raise ValueError("a delegate names data that the file does not have")
        settings = {
            each.text(0): self._content[slice(*each.bytes(1))].tobytes() for each in table.tables(2)
        }
        return PteDelegate(table.text(0), self._content[start:end], start, settings)


def _tensor(table: FlatTable) -> PteTensor:
    order = table.numbers(3, "uint8")
    return PteTensor(
        TYPES.get(table.number(0, "int8"), "undefined"),
        table.numbers(2, "int32"),
        bool(table.number(8, "int8")),
        table.number(5),
        order == tuple(range(len(order))),
    )


def tensors_in(method: Method, argument: int) -> Iterator[int]:
    """Yield the indices of the tensors in an argument: itself, or the items of a list."""
    held = method.values[argument]
    if isinstance(held, PteTensor):
        yield argument
    elif isinstance(held, Several) and held.are_tensors:
        yield from (item for item in held.items if item >= 0)
