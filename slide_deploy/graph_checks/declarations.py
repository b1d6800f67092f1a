"""What a file says of its slide attentions, and what each way of writing them must look like.

The exporter stores two texts with a file: which lowering it used, and a JSON list of the slide
attentions. The table of signatures says what grouped convolutions one attention of that lowering
consists of, so that a rule can count them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slide_deploy.graph_checks.convolutions import Convolution
from slide_deploy.graph_checks.readers.limits import MAX_DIMENSION

LOWERING_KEY = "slide_deploy.lowering"
ATTENTIONS_KEY = "slide_deploy.slide_attentions"
PRECISION_KEY = "slide_deploy.precision"

# A list of a hundred attentions has a tenth of it.
_LONGEST_TEXT = 100_000
# A number, or K: the number of offsets, k * k.
Count = Literal["K"] | int


@dataclass(frozen=True)
class Declaration:
    """One slide attention, as the file declares it.

    Attributes:
        name: of the module in the PyTorch model.
        channels: C, of q, of k and of v.
        kernel_size: k.
        heads: number of heads.
        head_dim: features of one.
    """

    name: str
    channels: int
    kernel_size: int
    heads: int
    head_dim: int


@dataclass(frozen=True)
class Signature:
    """The grouped convolutions of one attention in one lowering.

    Their groups are C, their kernel is k x k with padding k // 2 on every side and stride 1.

    Attributes:
        per_side: how many there are for the keys, and as many for the values.
        outputs_per_group: channels that each computes from one.
    """

    per_side: Count
    outputs_per_group: Count


SIGNATURES: Mapping[str, Signature] = {
    "depthwise": Signature(per_side=1, outputs_per_group="K"),
}


@dataclass(frozen=True, order=True)
class Geometry:
    """What tells one kind of grouped convolution from another; ``pads`` is () where unknown."""

    groups: int
    outputs_per_group: int
    kernel: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    def __str__(self) -> str:
        kernel = "x".join(map(str, self.kernel))
        text = f"groups {self.groups}, {self.outputs_per_group} outputs a group, kernel {kernel}"
        pads = {pad for pair in self.pads for pad in pair}
        text += f", padding {pads.pop() if len(pads) == 1 else self.pads or 'unknown'}"
        for name, steps in (("stride", self.strides), ("dilation", self.dilations)):
            if set(steps) != {1}:
                text += f", {name} {steps}"
        return text


def geometry(convolution: Convolution) -> Geometry:
    """The geometry of a convolution in a graph."""
    return Geometry(
        convolution.groups,
        convolution.outputs_per_group,
        convolution.kernel,
        convolution.pads or (),
        convolution.strides,
        convolution.dilations,
    )


def expected(declaration: Declaration, signature: Signature) -> tuple[Geometry, int]:
    """The grouped convolutions that an attention must have: their geometry and their number."""
    k = declaration.kernel_size
    geometry = Geometry(
        declaration.channels,
        _number(signature.outputs_per_group, k),
        (k, k),
        ((k // 2, k // 2),) * 2,
        (1, 1),
        (1, 1),
    )
    return geometry, 2 * _number(signature.per_side, k)


def read_declarations(metadata: Mapping[str, str]) -> tuple[Declaration, ...] | None:
    """The slide attentions that a file declares; None if it declares none.

    Raises:
        ValueError: the text is not the JSON list that the exporters write; its text is a clause.
    """
    text = metadata.get(ATTENTIONS_KEY)
    if text is None:
        return None
    return tuple(map(_declaration, read_entries(text)))


def read_entries(text: str) -> list[dict[str, Any]]:
    """The objects in a JSON list; an empty one in the place of what is none.

    Raises:
        ValueError: the text is no such list; its text is a clause.
    """
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"has {len(text):,} characters")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error
    if not isinstance(entries, list):
        raise ValueError("is not a list")
    return [entry if isinstance(entry, dict) else {} for entry in entries]


def _declaration(entry: dict[str, Any]) -> Declaration:
    numbers = ("channels", "kernel_size", "heads", "head_dim")
    if not isinstance(entry.get("name"), str):
        raise ValueError("has an entry without a name")
    for key in numbers:
        if type(entry.get(key)) is not int or not 0 < entry[key] <= MAX_DIMENSION:
            raise ValueError(f"says no {key} of {entry['name'][:80]}")
    declaration = Declaration(entry["name"], *(entry[key] for key in numbers))
    if declaration.channels != declaration.heads * declaration.head_dim:
        raise ValueError(
            f"says that {declaration.channels} channels of {declaration.name[:80]} are "
            f"{declaration.heads} heads of {declaration.head_dim}"
        )
    return declaration


def _number(count: Count, kernel_size: int) -> int:
    return kernel_size**2 if count == "K" else count
