"""What a file says of its slide attentions.

The exporter stores a JSON list with a file: each slide attention with its sizes, the form in which
it is written and its strips. ``signatures`` says what such an attention looks like in the graph.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slide_deploy.graph_checks.readers.limits import MAX_DIMENSION

ATTENTIONS_KEY = "slide_deploy.slide_attentions"
# Where older files name the one form of all their attentions.
LOWERING_KEY = "slide_deploy.lowering"
PRECISION_KEY = "slide_deploy.precision"

# What can stand outside a map.
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

# A list of a hundred attentions has a tenth of it.
_LONGEST_TEXT = 100_000


@dataclass(frozen=True)
class Declaration:
    """One slide attention, as the file declares it.

    Attributes:
        name: of the module in the PyTorch model.
        channels: C, of q, of k and of v.
        kernel_size: k.
        heads: number of heads.
        head_dim: features of one.
        lowering: the form in which it is written.
        strips: bands of rows that are computed one after the other.
        padding_mode: what stands outside the map, one of ``PADDING_MODES``.
    """

    name: str
    channels: int
    kernel_size: int
    heads: int
    head_dim: int
    lowering: str
    strips: int = 1
    padding_mode: str = "zeros"

    @property
    def offsets(self) -> int:
        """K, neighbours of a position, itself included."""
        return self.kernel_size**2


def read_declarations(metadata: Mapping[str, str]) -> tuple[Declaration, ...] | None:
    """The slide attentions that a file declares; None if it declares none.

    Raises:
        ValueError: the text is not the JSON list that the exporters write; its text is a clause.
    """
    text = metadata.get(ATTENTIONS_KEY)
    if text is None:
        return None
    older = {"lowering": metadata.get(LOWERING_KEY), "strips": 1}
    return tuple(_declaration(older | entry) for entry in read_entries(text))


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
    numbers = ("channels", "kernel_size", "heads", "head_dim", "strips")
    if not isinstance(entry.get("name"), str):
        raise ValueError("has an entry without a name")
    if not isinstance(entry["lowering"], str):
        raise ValueError(f"says no lowering of {entry['name'][:80]}")
    for key in numbers:
        if type(entry.get(key)) is not int or not 0 < entry[key] <= MAX_DIMENSION:
            raise ValueError(f"says no {key} of {entry['name'][:80]}")
    mode = entry.get("padding_mode", "zeros")  # which older files do not state
    if mode not in PADDING_MODES:
        raise ValueError(f"says no padding_mode of {entry['name'][:80]} that is known")
    known = {key: entry[key] for key in ("name", "lowering", *numbers)}
    declaration = Declaration(**known, padding_mode=mode)
    if declaration.channels != declaration.heads * declaration.head_dim:
        raise ValueError(
            f"says that {declaration.channels} channels of {declaration.name[:80]} are "
            f"{declaration.heads} heads of {declaration.head_dim}"
        )
    return declaration
