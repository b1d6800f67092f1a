"""Read the parts of a ``.tflite`` file: operator codes, subgraphs, names, buffers, metadata.

Model    version, operator codes, subgraphs, buffers, metadata, signatures
Subgraph tensors, indices of its inputs and outputs, operators
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.errors import InputError
from slide_deploy.saved.flatbuffer import Flatbuffer, FlatTable, Place
from slide_deploy.saved.tflite.schema import (
    BIASES,
    CUSTOM,
    IDENTIFIER,
    MISSING,
    OPERATORS,
    RECURRENT,
)
from slide_deploy.saved.untrusted import damaged, map_file


@dataclass(frozen=True)
class Code:
    """A kind of operator that a file uses.

    Attributes:
        operator: its name.
        version: of its kernel, which is raised with each new feature.
        is_custom: whether it is not one of LiteRT's own operators.
    """

    operator: str
    version: int
    is_custom: bool = False


@dataclass(frozen=True)
class Subgraph:
    """The network, or a body of control flow; inputs and outputs are indices of its tensors."""

    table: FlatTable
    tensors: tuple[FlatTable, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str

    def operators(self) -> Iterator[FlatTable]:
        """Its operators, in order."""
        return self.table.tables(3)


def opened(path: Path) -> "Model":
    """Open a file.

    Raises:
        InputError: if it cannot be read or is damaged.
    """
    return Model(map_file(path, path), partial(damaged, path))


class Model:
    """A file, whose parts are read when they are used.

    Args:
        content: of the file, shape (bytes,).
        damaged: returns the error for a clause that describes how bytes contradict each other.

    Raises:
        InputError: if the bytes contradict each other.
    """

    def __init__(self, content: NDArray[np.uint8], damaged: Callable[[str], InputError]) -> None:
        self.file = Flatbuffer(content, damaged)
        if self.file.identifier != IDENTIFIER:
            raise damaged("it does not begin like a .tflite file")
        self._root = self.file.root()
        self.version: int = self._root.number(0, "uint32")
        self.subgraphs = tuple(self._subgraph(table) for table in self._root.tables(2))
        if not self.subgraphs:
            raise damaged("it holds no network")

    @cached_property
    def codes(self) -> tuple[Code, ...]:
        """The operator codes, by index."""
        return tuple(map(_code, self._root.tables(1)))

    def code(self, number: int) -> Code:
        """Return an operator code by its index."""
        if not 0 <= number < len(self.codes):
            raise self.file.damaged(f"it has no operator code {number}")
        return self.codes[number]

    @cached_property
    def buffers(self) -> tuple[Place, ...]:
        """Where the bytes of each buffer are; some are empty."""
        return tuple(map(self._buffer, self._root.tables(4)))

    def buffer(self, number: int) -> Place:
        """Return where the bytes of a buffer are."""
        if not 0 <= number < len(self.buffers):
            raise self.file.damaged(f"it has no buffer {number}")
        return self.buffers[number]

    @cached_property
    def _entries(self) -> tuple[tuple[str, int], ...]:
        """The key and the buffer index of each metadata entry."""
        return tuple((each.text(0), each.number(1, "uint32")) for each in self._root.tables(6))

    @property
    def described(self) -> set[int]:
        """Indices of the buffers that hold metadata."""
        return {buffer for _, buffer in self._entries}

    def refuse_missing_tensors(self) -> None:
        """Refuse a file in which an operator lacks an input, or a subgraph an input or output.

        LiteRT crashes on such files. Inputs that an operator does not need may be left out.

        Raises:
            InputError: if a tensor is missing.
        """
        for number, subgraph in enumerate(self.subgraphs):
            self.inputs(number), self.outputs(number)
            for place, operator in enumerate(subgraph.operators()):
                code = self.code(operator.number(0, "uint32"))
                if code.is_custom or code.operator in RECURRENT:
                    continue
                for index, tensor in enumerate(operator.numbers(1, "int32")):
                    if tensor == MISSING and index != BIASES.get(code.operator):
                        named = f"operator {place}, {code.operator},"
                        raise self.file.damaged(f"{named} has no input {index}")

    def metadata(self) -> dict[str, str]:
        """Return the metadata strings, by key."""
        found = {}
        for key, buffer in self._entries:
            start, end = self.buffer(buffer)
            self.file.spend(end - start)
            found[key] = bytes(self.file.content[start:end]).decode("utf-8", "replace")
        return found

    @cached_property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """The names of all tensors of each subgraph, made unique.

        Inputs and outputs of the network have the names in its signature.
        """
        published = self._published()
        taken: set[str] = set(published.values())
        names = []
        for index, subgraph in enumerate(self.subgraphs):
            prefix = f"{subgraph.name or index}/" if index else ""
            found = []
            for place, tensor in enumerate(subgraph.tensors):
                given = published.get(place) if index == 0 else None
                name = given or prefix + (tensor.text(3) or str(place))
                if given is None and name in taken:
                    name = f"{name}#{index}.{place}"
                if given is None and name in taken:
                    raise self.file.damaged(f"two tensors are called {name[:80]!r}")
                taken.add(name)
                found.append(name)
            names.append(tuple(found))
        return tuple(names)

    def name(self, subgraph: int, tensor: int) -> str:
        """Return the name of a tensor by its index."""
        if not 0 <= tensor < len(self.names[subgraph]):
            raise self.file.damaged(f"it has no tensor {tensor}")
        return self.names[subgraph][tensor]

    def inputs(self, subgraph: int) -> tuple[str, ...]:
        """Return the names of a subgraph's inputs."""
        return tuple(self.name(subgraph, each) for each in self._at(subgraph).inputs)

    def outputs(self, subgraph: int) -> tuple[str, ...]:
        """Return the names of a subgraph's outputs."""
        return tuple(self.name(subgraph, each) for each in self._at(subgraph).outputs)

    def _at(self, number: int) -> Subgraph:
        if not 0 <= number < len(self.subgraphs):
            raise self.file.damaged(f"it has no subgraph {number}")
        return self.subgraphs[number]

    def _published(self) -> Mapping[int, str]:
        """Return the names in the network's signature, by tensor index."""
        network = self.subgraphs[0]
        ends = {*network.inputs, *network.outputs}
        names: dict[int, str] = {}
        for signature in islice(self._root.tables(7), 1):
            entries = [*signature.tables(0), *signature.tables(1)]
            if signature.number(4, "uint32") == 0:
                for entry in entries:
                    name, place = entry.text(0), entry.number(1, "uint32")
                    if place in ends and name and name not in names.values():
                        names.setdefault(place, name)
        return names

    def _subgraph(self, table: FlatTable) -> Subgraph:
        return Subgraph(
            table,
            tuple(table.tables(0)),
            table.numbers(1, "int32"),
            table.numbers(2, "int32"),
            table.text(4),
        )

    def _buffer(self, buffer: FlatTable) -> Place:
        """Return where the bytes of a buffer are: inline, or after the tables of a large file."""
        offset, size = buffer.number(1, "uint64"), buffer.number(2, "uint64")
        if offset > 1:  # 0 and 1 mean that the bytes are inline
            self.file.check(offset, size)
            return offset, offset + size
        return buffer.bytes(0)


def _code(code: FlatTable) -> Code:
    # Files from before 2020 have the first field only; newer files have both.
    number = max(code.number(0, "int8"), code.number(3, "int32"))
    version = code.number(2, "int32", 1)
    if number == CUSTOM:
        return Code(code.text(1) or "CUSTOM", version, is_custom=True)
    known = OPERATORS[number] if 0 <= number < len(OPERATORS) else f"OPERATOR_{number}"
    return Code(known, version)
