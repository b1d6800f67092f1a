"""The declaration of a file's inputs and outputs: names, element types and shapes.

The exporters store a JSON object with the file::

    {"inputs": [{"name": "image", "type": "float32", "shape": ["batch", 3, 224, 224]}],
     "outputs": [{"name": "logits", "type": "float32", "shape": ["batch", 1000]}]}

A string in a shape names an open size. In an output it may be an expression of such names, such as
``2*height``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slide_deploy.graph_checks.declarations import is_count, parsed
from slide_deploy.graph_checks.readers.limits import MAX_DIMENSION

INTERFACE_KEY = "slide_deploy.interface"
_SIDES = ("inputs", "outputs")


@dataclass(frozen=True)
class InterfacePort:
    """One input or output.

    Attributes:
        name: the name that callers use.
        type: numpy's name of the element type.
        shape: sizes, and names of open sizes.
    """

    name: str
    type: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class DeclaredInterface:
    """All inputs and outputs, in the order of the model."""

    inputs: tuple[InterfacePort, ...]
    outputs: tuple[InterfacePort, ...]

    @property
    def opens_more_than_the_first(self) -> bool:
        """Whether an input or output has an open size after its first one."""
        ports = (*self.inputs, *self.outputs)
        return any(isinstance(size, str) for port in ports for size in port.shape[1:])

    @property
    def open_names(self) -> frozenset[str]:
        """The names of open sizes of the inputs."""
        return frozenset(
            size for port in self.inputs for size in port.shape if isinstance(size, str)
        )


def interface_text(inputs: Sequence[InterfacePort], outputs: Sequence[InterfacePort]) -> str:
    """The interface as JSON text."""
    sides = zip(_SIDES, (inputs, outputs), strict=True)
    return json.dumps({side: [asdict(port) for port in ports] for side, ports in sides})


def read_interface(metadata: Mapping[str, str]) -> DeclaredInterface | None:
    """The interface that a file declares; None if it declares none.

    Raises:
        ValueError: the exporters do not write such a text. The message is a clause whose subject is
            the metadata entry.
    """
    text = metadata.get(INTERFACE_KEY)
    if text is None:
        return None
    content = parsed(text)
    if not isinstance(content, dict):
        raise ValueError("is not an object")
    inputs, outputs = (_ports(side, content.get(side)) for side in _SIDES)
    return DeclaredInterface(inputs, outputs)


def _ports(side: str, held: Any) -> tuple[InterfacePort, ...]:
    if not isinstance(held, list) or not all(isinstance(entry, dict) for entry in held):
        raise ValueError(f"has no list of {side}")
    ports = []
    for entry in held:
        name, type_, shape = entry.get("name"), entry.get("type"), entry.get("shape")
        if not isinstance(name, str) or not isinstance(type_, str):
            raise ValueError(f"has an entry of {side} without a name or a type")
        if not isinstance(shape, list) or not all(map(_is_size, shape)):
            raise ValueError(f"has no valid shape of {name[:80]}")
        ports.append(InterfacePort(name, type_, tuple(shape)))
    if len({port.name for port in ports}) != len(ports):
        raise ValueError(f"gives two of its {side} the same name")
    return tuple(ports)


def _is_size(held: Any) -> bool:
    return bool(held) if isinstance(held, str) else is_count(held, MAX_DIMENSION, 1)
