"""Constructors of mutants, by what is damaged: weights, network or file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnx import ModelProto

from tests.mutants.bases import Base, Rebuild
from tests.mutants.litert_damage import in_model
from tests.mutants.mlpackage_damage import Program, in_program
from tests.mutants.mutant import DEVICES, FORMATS, Catcher, Mutant, by_format, rules
from tests.mutants.network_damage import pooled_by, written_anew
from tests.mutants.onnx_damage import in_graph
from tests.mutants.weights import Edit, before_folding, in_weights

FileEdit = Callable[[Path], object]


def weights(edit: Edit, description: str, catcher: Catcher = "parity", *, rule: str = "") -> Mutant:
    """Other weights in every format."""
    catchers = by_format(catcher)
    return Mutant(_name(edit), description, in_weights(edit), catchers, rules(rule, catchers))


def trained(edit: Callable[[Any], object], description: str) -> Mutant:
    """Other weights before the fold, in every format."""
    return Mutant(_name(edit), description, before_folding(edit), by_format("parity"), {})


def network(
    edit: Rebuild, description: str, catcher: Catcher = "parity", *, rule: str = ""
) -> Mutant:
    """Another network, exported to every format."""
    damage, catchers = written_anew(edit), by_format(catcher)
    seen_by = rules(rule, catchers)
    return Mutant(_name(edit), description, damage, catchers, seen_by, exports=True)


def pooling(
    edit: Callable[[Any, Any], Any], description: str, *, open_batch: bool = False
) -> Mutant:
    """Other layers between the last tokens and the logits, exported to every format."""
    damage, catchers = written_anew(pooled_by(edit)), by_format("parity")
    name = _name(edit)
    return Mutant(name, description, damage, catchers, {}, open_batch=open_batch, exports=True)


def file(
    name: str,
    description: str,
    caught_by: Catcher | Mapping[str, Catcher],
    edits: Mapping[str, FileEdit],
    *,
    rule: str | Mapping[str, str] = "",
    open_batch: bool = False,
) -> Mutant:
    """Damage to the exported file, in the formats for which there is an edit."""

    def damage(base: Base, format: str, folder: Path) -> Path:
        path = base.copy(format, folder)
        edits[format](path)
        return path

    catchers = by_format(caught_by) if isinstance(caught_by, str) else caught_by
    formats = tuple(format for format in (*FORMATS, *DEVICES) if format in edits)
    seen_by = rules(rule, catchers)
    return Mutant(name, description, damage, catchers, seen_by, formats, open_batch)


def edits(
    onnx: Callable[[ModelProto], object] | None = None,
    openvino: FileEdit | None = None,
    coreml: Callable[[Program], object] | None = None,
    litert: Callable[[Any], object] | None = None,
) -> dict[str, FileEdit]:
    """The edit of each format, wrapped by the function of its damage module."""
    found: dict[str, FileEdit] = {}
    if onnx is not None:
        found["onnx"] = in_graph(onnx)
    if openvino is not None:
        found["openvino"] = openvino
    if coreml is not None:
        found["coreml"] = in_program(coreml)
    if litert is not None:
        found["litert"] = in_model(litert)
    return found


def everywhere(edit: FileEdit, *formats: str) -> dict[str, FileEdit]:
    """One edit for several formats; all if none is named."""
    return dict.fromkeys(formats or FORMATS, edit)


def _name(edit: object) -> str:
    return str(getattr(edit, "__name__", "")).replace("_", "-")
