"""What a mutant is: one kind of damage to a valid file, and who must see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutants.bases import Base

# Networks and weights are damaged in these, since they are written anew or found by their bytes.
NETWORKS: tuple[str, ...] = ("onnx", "openvino", "coreml")
# Files are damaged in these.
FORMATS: tuple[str, ...] = (*NETWORKS, "litert")
# These have kinds of their own, as their libraries are in another environment.
DEVICES: tuple[str, ...] = ("coreai", "executorch")

REFUSED = "refused"

Catcher = Literal["check", "parity", "both"]
Damage = Callable[[Base, str, Path], Path]
"""From the valid files, a format and an empty folder to a damaged file in that folder."""


@dataclass(frozen=True)
class Mutant:
    """One kind of damage.

    Attributes:
        name: short, as ``--only`` takes it.
        description: what is wrong, a sentence.
        damage: makes the damaged file.
        caught_by: who must see it, by format; the other one may see it too.
        rule: which rule must, by format; `REFUSED` where the file cannot be read. Formats whose
            damage check need not see have none.
        formats: those in which it makes sense.
        open_batch: damages files with an open batch; of one image otherwise.
        exports: writes a damaged network anew, which takes seconds; otherwise edits a valid file.
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
    """The same catcher in every format but those that are named."""
    return {format: others.get(format, catcher) for format in FORMATS}


def rules(rule: str | Mapping[str, str], caught_by: Mapping[str, Catcher]) -> dict[str, str]:
    """A rule, or one by format, for the formats in which check must see the damage."""
    named = rule if isinstance(rule, Mapping) else dict.fromkeys(FORMATS, rule)
    return {format: named[format] for format in named if caught_by[format] != "parity"}
