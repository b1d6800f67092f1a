"""What a file declares of its inputs and outputs: names, element types and shapes.

The exporters store a JSON object with the file::

    {"inputs": [{"name": "image", "type": "float32", "shape": ["batch", 3, 224, 224]}],
     "outputs": [{"name": "logits", "type": "float32", "shape": ["batch", 1000]}]}

A text in a shape is the name of an open size; in an output it may be computed from such names, as
in ``2*height``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slide_deploy.graph_checks.declarations import parsed
from slide_deploy.graph_checks.readers.limits import MAX_DIMENSION

INTERFACE_KEY = "slide_deploy.interface"
_SIDES = ("inputs", "outputs")


@dataclass(frozen=True)
class InterfacePort:
    """One input or output.

    Attributes:
        name: as callers ask for it.
        type: of its elements, as numpy spells it.
        shape: sizes, and names of those that are open.
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
        """Whether a size behind the first of an input or output is open."""
        ports = (*self.inputs, *self.outputs)
        return any(isinstance(size, str) for port in ports for size in port.shape[1:])

    @property
    def open_names(self) -> frozenset[str]:
        """The names of open sizes of the inputs."""
        return frozenset(
            size for port in self.inputs for size in port.shape if isinstance(size, str)
        )


def interface_text(inputs: Sequence[InterfacePort], outputs: Sequence[InterfacePort]) -> str:
    """The JSON object of an interface."""
    sides = zip(_SIDES, (inputs, outputs), strict=True)
    return json.dumps({side: [asdict(port) for port in ports] for side, ports in sides})


def read_interface(metadata: Mapping[str, str]) -> DeclaredInterface | None:
    """The interface that a file declares; None if it declares none.

    Raises:
        ValueError: the text is not what the exporters write; its text is a clause.
    """
    text = metadata.get(INTERFACE_KEY)
    if text is None:
        return None
    content = parsed(text)
    if not isinstance(content, dict):
        raise ValueError("is no object")
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
            raise ValueError(f"says no shape of {name[:80]}")
        ports.append(InterfacePort(name, type_, tuple(shape)))
    if len({port.name for port in ports}) != len(ports):
        raise ValueError(f"names two of its {side} alike")
    return tuple(ports)


def _is_size(held: Any) -> bool:
    if isinstance(held, str):
        return bool(held)
    return type(held) is int and 0 < held <= MAX_DIMENSION
