"""The census of a file: how many operators of each geometry mix channels in the exported program.

The exporters count them in the traced program and store a JSON object with the file::

    {"mixings": [{"groups": 8, "inputs": 1, "outputs": 9, "kernel": [3, 3],
                  "pads": [[1, 1], [1, 1]], "strides": [1, 1], "dilations": [1, 1],
                  "transposed": false, "least": 2, "most": 2, "slide_attention": true}, ...],
     "branched_pairs": 0, "hidden_products": false, "infinities": false, "copies": false, "rank": 4}

``least`` and ``most`` differ where converters have a choice: they merge equal operators, and fuse
an attention over constants. The entry of a matmul has no kernel, pads, strides or dilations.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slide_deploy.graph_checks.declarations import is_count, parsed
from slide_deploy.graph_checks.mixing import MixingGeometry
from slide_deploy.graph_checks.readers.limits import MAX_DIMENSION, MAX_NODES, MAX_RANK

CENSUS_KEY = "slide_deploy.census"


@dataclass(frozen=True)
class Count:
    """How many operators of one kind a file has.

    Attributes:
        least: the number that every converter keeps.
        most: also counts those that converters may merge, fold into neighbours or create.
        slide_attention: whether all of them belong to slide attentions.
    """

    least: int
    most: int
    slide_attention: bool = False

    def __str__(self) -> str:
        return str(self.most) if self.least == self.most else f"{self.least} to {self.most}"


@dataclass(frozen=True)
class Census:
    """The operators of a program that mix channels, and what else rules must allow.

    Attributes:
        mixings: counts by geometry.
        branched_pairs: number of sums of two grouped convolutions of one geometry that read the
            same value: branches that the network has on purpose, or that cannot be folded.
        hidden_matmuls: whether there are operators that converters write with any number of
            matmuls, such as recurrent cells. Its key in the file is ``hidden_products``.
        infinities: whether there are infinite constants, for example in masks.
        copies: whether the program itself copies neighbours, with an unfold or an index.
        rank: the highest rank of a value outside slide attentions; 0 if it was not counted.
    """

    mixings: Mapping[MixingGeometry, Count]
    branched_pairs: int = 0
    hidden_matmuls: bool = False
    infinities: bool = False
    copies: bool = False
    rank: int = 0


def census_text(census: Census) -> str:
    """The census as JSON text."""
    entries = []
    for kind, count in census.mixings.items():
        entry: dict[str, Any] = {"groups": kind.groups} if kind.groups != 1 else {}
        entry |= {"inputs": kind.inputs, "outputs": kind.outputs}
        if kind.kernel:
            entry |= {"kernel": kind.kernel, "pads": kind.pads}
            entry |= {"strides": kind.strides, "dilations": kind.dilations}
        entry |= {"transposed": True} if kind.transposed else {}
        entry |= {"least": count.least, "most": count.most}
        entry |= {"slide_attention": True} if count.slide_attention else {}
        entries.append(entry)
    content = {
        "mixings": entries,
        "branched_pairs": census.branched_pairs,
        "hidden_products": census.hidden_matmuls,
        "infinities": census.infinities,
        "copies": census.copies,
        "rank": census.rank,
    }
    return json.dumps(content, separators=(",", ":"))


def read_census(metadata: Mapping[str, str]) -> Census | None:
    """The census that a file declares; None if it declares none.

    Raises:
        ValueError: the exporters do not write such a text. The message is a clause whose subject is
            the metadata entry.
    """
    text = metadata.get(CENSUS_KEY)
    if text is None:
        return None
    content = parsed(text)
    if not isinstance(content, dict) or not isinstance(content.get("mixings"), list):
        raise ValueError("has no list of mixings")
    pairs = content.get("branched_pairs", 0)
    flags = [content.get(key, False) for key in ("hidden_products", "infinities", "copies")]
    if not is_count(pairs, MAX_NODES) or not all(isinstance(flag, bool) for flag in flags):
        raise ValueError(
            "has branched_pairs that are no count, or hidden_products, infinities or copies that "
            "are neither true nor false"
        )
    mixings: dict[MixingGeometry, Count] = {}
    for entry in content["mixings"]:
        kind, count = _geometry(entry), _count(entry)
        if kind in mixings:
            raise ValueError(f"counts {kind} twice")
        mixings[kind] = count
    rank = content.get("rank", 0)
    if not is_count(rank, MAX_RANK):
        raise ValueError("has a rank that is no count")
    hidden, infinite, copies = flags
    return Census(mixings, pairs, hidden, infinite, copies, rank)


def valid_census(metadata: Mapping[str, str]) -> Census:
    """The census that a file declares; an empty one if it has none, or one that SD017 reports."""
    try:
        return read_census(metadata) or Census({})
    except ValueError:
        return Census({})


def _geometry(entry: Any) -> MixingGeometry:
    if not isinstance(entry, dict):
        raise ValueError("has an entry that is not an object")
    groups, inputs, outputs = (
        entry.get("groups", 1),
        entry.get("inputs", 0),
        entry.get("outputs", 0),
    )
    if not all(is_count(size, MAX_DIMENSION, 1) for size in (groups, inputs, outputs)):
        raise ValueError("has an entry without groups, inputs and outputs")
    kernel, strides, dilations = (
        _sizes(entry.get(key, []), 1) for key in ("kernel", "strides", "dilations")
    )
    held = entry.get("pads", [])
    pads = tuple(_sizes(pair, 0) for pair in held) if isinstance(held, list) else None
    if kernel is None or strides is None or dilations is None or pads is None or None in pads:
        raise ValueError("has a kernel, pads, strides or dilations that are not lists of numbers")
    pairs = tuple((pair[0], pair[1]) for pair in pads if pair is not None and len(pair) == 2)
    fits = len(kernel) == len(strides) == len(dilations) and len(pairs) == len(pads)
    if not fits or len(pads) not in (0, len(kernel)):
        raise ValueError("has pads, strides or dilations that do not fit their kernel")
    transposed = entry.get("transposed", False) is True
    return MixingGeometry(groups, inputs, outputs, kernel, pairs, strides, dilations, transposed)


def _count(entry: Mapping[str, Any]) -> Count:
    least, most = entry.get("least"), entry.get("most")
    if not is_count(most, MAX_NODES, 1) or not is_count(least, most):
        raise ValueError("has an entry without a valid least and most")
    return Count(least, most, entry.get("slide_attention", False) is True)


def _sizes(held: Any, lowest: int) -> tuple[int, ...] | None:
    if not isinstance(held, list) or not all(is_count(n, MAX_DIMENSION, lowest) for n in held):
        return None
    return tuple(held)
