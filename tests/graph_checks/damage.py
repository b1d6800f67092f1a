"""Edit a valid file of each format: a copy is made, the original stays."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import onnx

from slide_deploy.mlpackage.protobuf import model_messages

Element = ElementTree.Element


def copied(path: Path, folder: Path) -> Path:
    """A copy with everything that belongs to it."""
    target = folder / path.name
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        for suffix in (path.suffix, ".bin"):
            if path.with_suffix(suffix).exists():
                shutil.copy(path.with_suffix(suffix), target.with_suffix(suffix))
    return target


def edit_onnx(path: Path, folder: Path, edit: Callable[[onnx.ModelProto], object]) -> Path:
    target = copied(path, folder)
    model = onnx.load(target)
    edit(model)
    target.write_bytes(model.SerializeToString())
    return target


def edit_ir(path: Path, folder: Path, edit: Callable[[Element], object]) -> Path:
    target = copied(path, folder)
    root = ElementTree.parse(target).getroot()
    edit(root)
    target.write_bytes(ElementTree.tostring(root))
    return target


def edit_mlpackage(path: Path, folder: Path, edit: Callable[[Any], object]) -> Path:
    target = copied(path, folder)
    file = next(target.rglob("*.mlmodel"))
    model = model_messages().Model.FromString(file.read_bytes())
    edit(model)
    file.write_bytes(model.SerializeToString())
    return target


EDITORS = {"onnx": edit_onnx, "openvino": edit_ir, "coreml": edit_mlpackage}


def node(model: onnx.ModelProto, operator: str, index: int = 0) -> onnx.NodeProto:
    return [found for found in model.graph.node if found.op_type == operator][index]


def grouped(model: onnx.ModelProto, index: int = 0) -> onnx.NodeProto:
    """One of the depthwise convolutions."""
    return [
        found
        for found in model.graph.node
        if any(held.name == "group" and held.i > 1 for held in found.attribute)
    ][index]


def attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(held for held in node.attribute if held.name == name)


def layer(root: Element, operator: str, index: int = 0) -> Element:
    return root.findall(f"layers/layer[@type='{operator}']")[index]


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
    """An edit of what a file says of itself; None takes the entry away."""

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
