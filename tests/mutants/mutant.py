"""A mutant: one kind of damage to a valid file, and what must catch it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutants.bases import Base

# Networks and weights are damaged in these, because they are exported again or found by bytes.
NETWORKS: tuple[str, ...] = ("onnx", "openvino", "coreml")
# Files are damaged in these.
FORMATS: tuple[str, ...] = (*NETWORKS, "litert")
# These have their own kinds, because their libraries are in a separate environment.
DEVICES: tuple[str, ...] = ("coreai", "executorch")

REFUSED = "refused"

Catcher = Literal["check", "parity", "both"]
Damage = Callable[[Base, str, Path], Path]
"""From the valid files, a format and an empty folder to a damaged file in that folder."""


@dataclass(frozen=True)
class Mutant:
    """One kind of damage.

    Attributes:
        name: short, for ``--only``.
        description: what is wrong, a sentence.
        damage: makes the damaged file.
        caught_by: what must catch it, by format; the other catcher may as well.
        rule: the rule that must report it, by format; `REFUSED` if the file cannot be read. Formats
            in which check need not find the damage have none.
        formats: the formats in which it makes sense.
        open_batch: whether it damages files with an open batch instead of a batch of one.
        exports: whether it exports a damaged network, which takes seconds, or edits a valid file.
    """

    name: str
    description: str
    damage: Damage
    caught_by: Mapping[str, Catcher]
    rule: Mapping[str, str]
    formats: tuple[str, ...] = NETWORKS
    open_batch: bool = False
    exports: bool = False


def by_format(catcher: Catcher, **others: Catcher) -> dict[str, Catcher]:
    """The same catcher in every format except the named ones."""
    return {format: others.get(format, catcher) for format in FORMATS}


def rules(rule: str | Mapping[str, str], caught_by: Mapping[str, Catcher]) -> dict[str, str]:
    """A rule, or one by format, for the formats in which check must find the damage."""
    named = rule if isinstance(rule, Mapping) else dict.fromkeys(FORMATS, rule)
    return {format: named[format] for format in named if caught_by[format] != "parity"}
