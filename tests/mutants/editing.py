"""Edit a copy of a valid file of each format, for the tests of one rule or one reader.

How to find one's way in a message is known to the modules of the formats beside this one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from tests.mutants.mlpackage_damage import in_program
from tests.mutants.onnx_damage import attribute, in_graph, node
from tests.mutants.openvino_damage import Element, in_xml, layer
from tests.support import copied

__all__ = ["Element", "attribute", "copied", "layer", "node"]


def edit_onnx(path: Path, folder: Path, edit: Callable[[onnx.ModelProto], object]) -> Path:
    target = copied(path, folder)
    in_graph(edit)(target)
    return target


def edit_ir(path: Path, folder: Path, edit: Callable[[Element], object]) -> Path:
    target = copied(path, folder)
    in_xml(edit)(target)
    return target


def edit_mlpackage(path: Path, folder: Path, edit: Callable[[Any], object]) -> Path:
    target = copied(path, folder)
    in_program(lambda program: edit(program.spec))(target)
    return target


EDITORS = {"onnx": edit_onnx, "openvino": edit_ir, "coreml": edit_mlpackage}


def operations(model: Any) -> Any:
    function = model.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def operation(model: Any, kind: str, index: int = 0) -> Any:
    return [found for found in operations(model) if found.type == kind][index]


def literal(model: Any, name: str) -> Any:
    """The immediate tensor of a constant."""
    found = next(held for held in operations(model) if held.outputs[0].name == name)
    return found.attributes["val"].immediateValue.tensor


def declare(format: str, key: str, text: str | None) -> Callable[[Any], None]:
    """An edit of a metadata entry; None removes the entry."""

    def in_onnx(model: onnx.ModelProto) -> None:
        kept = [(held.key, held.value) for held in model.metadata_props if held.key != key]
        del model.metadata_props[:]
        for name, value in [*kept, *([(key, text)] if text is not None else [])]:
            model.metadata_props.add(key=name, value=value)

    def in_ir(root: Element) -> None:
        section, _, name = key.partition(".")
        entries = root.find(f"rt_info/{section}")
        assert entries is not None
        for entry in entries.findall(name):
            entries.remove(entry)
        if text is not None:
            entries.append(Element(name, {"value": text}))

    def in_mlpackage(model: Any) -> None:
        held = model.description.metadata.userDefined
        held.pop(key, None)
        if text is not None:
            held[key] = text

    return {"onnx": in_onnx, "openvino": in_ir, "coreml": in_mlpackage}[format]
