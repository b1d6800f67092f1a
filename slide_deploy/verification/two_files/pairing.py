"""Pair the inputs and the outputs of two files: by name, or else by order.

Names count if both files have the same set of them. Otherwise names that occur in both files are
paired, and the rest by order, if the files have as many and the shapes agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slide_deploy.backends import Port, Session
from slide_deploy.backends.base import BFLOAT16
from slide_deploy.errors import InputError
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.images.description import ImageDescription, read_description
from slide_deploy.parsing import written

# Axes of (batch, channels, height, width) in the order of (batch, height, width, channels).
_CHANNELS_LAST = (0, 2, 3, 1)


@dataclass(frozen=True)
class OpenedFile:
    """A file, opened to be compared.

    Attributes:
        path: its path.
        session: the file on its runtime.
        graph: the file as the graph checks read it.
    """

    path: Path
    session: Session
    graph: Graph

    @property
    def picture(self) -> ImageDescription | None:
        """The description of its image if the file normalises pixels itself, or else None."""
        described = read_description(self.graph.metadata)
        return described if described is not None and described.inside else None

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Its inputs; a declared picture as (batch, channels, height, width)."""
        return tuple(map(self._input, self.session.inputs))

    @property
    def interface(self) -> str:
        """What it takes and gives, a clause for messages."""
        taken = ", ".join(
            f"{port.name} ({port.dtype} {written(port.shape)})" for port in self.session.inputs
        )
        return f"{self.path} takes {taken} and gives {', '.join(self.session.outputs)}"

    def _input(self, port: Port) -> Port:
        stored = next((each for each in self.graph.inputs if each.name == port.name), None)
        if stored is not None and stored.dtype == "float16":
            # A target that emulates float16 takes float32.
            port = replace(port, dtype=stored.dtype)
        picture = self.picture
        if picture is None or port.name != picture.input:
            return port
        return replace(port, shape=picture.channels_first(port.shape), pixels=True)


@dataclass(frozen=True)
class Pairing:
    """How the interfaces of two files correspond.

    Attributes:
        inputs: pairs of an input of the judged file and one of its reference.
        outputs: names of outputs of the reference, by those of the judged file.
        by_order: whether an output is paired by order, so that the shapes have to agree.
    """

    inputs: tuple[tuple[Port, Port], ...]
    outputs: Mapping[str, str]
    by_order: bool


def paired_files(file: OpenedFile, reference: OpenedFile) -> Pairing:
    """Pair the inputs and outputs of a file with those of its reference.

    Raises:
        InputError: if the interfaces differ in number, shape, type or layout, or if only one file
            normalises its image.
    """
    if (file.picture is None) != (reference.picture is None):
        with_steps, without = (file, reference) if file.picture else (reference, file)
        raise InputError(
            f"{with_steps.path} takes pixels and normalises them, and {without.path} does not: "
            f"give two files with the same preprocessing."
        )
    ours = {port.name: port for port in file.inputs}
    theirs = {port.name: port for port in reference.inputs}
    inputs = _paired(list(ours), list(theirs))
    outputs = _paired(file.session.outputs, reference.session.outputs)
    if inputs is None or outputs is None:
        raise unlike(file, reference)
    pairs = tuple((ours[name], theirs[other]) for name, other in inputs.items())
    for port, other in pairs:
        _refuse_other_layout(file, reference, port, other)
        if not _fits(port.shape, other.shape) or not _is_same_kind(port, other):
            raise unlike(file, reference)
    by_order = any(name != other for name, other in outputs.items())
    return Pairing(pairs, outputs, by_order)


def unlike(file: OpenedFile, reference: OpenedFile) -> InputError:
    """Return the error for two files whose interfaces cannot be paired."""
    return InputError(
        f"{file.interface}, but {reference.interface}: give two files with the same inputs and "
        f"outputs."
    )


def _paired(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str] | None:
    """Pair names, equal ones first, the rest by order; None if the numbers differ."""
    if len(ours) != len(theirs):
        return None
    others = iter([name for name in theirs if name not in ours])
    return {name: name if name in theirs else next(others) for name in ours}


def _fits(ours: Sequence[int | None], theirs: Sequence[int | None]) -> bool:
    """Whether some shape agrees with both, in which None stands for any size."""
    return len(ours) == len(theirs) and all(
        None in (size, other) or size == other for size, other in zip(ours, theirs, strict=True)
    )


def _is_same_kind(port: Port, other: Port) -> bool:
    return (port.pixels and other.pixels) or _kind(port.dtype) == _kind(other.dtype)


def _kind(dtype: str) -> str:
    """The kind of a type: "f" for floats, "i" for integers, "b" for booleans."""
    return "f" if dtype == BFLOAT16 else np.dtype(dtype).kind.replace("u", "i")


def _refuse_other_layout(file: OpenedFile, reference: OpenedFile, port: Port, other: Port) -> None:
    """Refuse two inputs of which one has the channels last.

    Raises:
        InputError: if they fit only after channels are moved.
    """
    if len(port.shape) != 4 or len(other.shape) != 4 or _fits(port.shape, other.shape):
        return
    moved = [tuple(shape[axis] for axis in _CHANNELS_LAST) for shape in (port.shape, other.shape)]
    if _fits(moved[0], other.shape) or _fits(port.shape, moved[1]):
        raise InputError(
            f"{file.path} takes {port.name} as {written(port.shape)} and {reference.path} takes "
            f"{other.name} as {written(other.shape)}, which is another layout of the channels: "
            f"give two files with the same layout."
        )
