"""Give inputs and outputs of an ONNX file other floating-point types.

A file that takes the place of another one has to take and to give the same types. The operators in
between keep theirs:

    input     x of the wanted type, and a Cast to the former type for its readers
    output    a Cast to the wanted type behind the former value

Two Casts that lead back to the wanted type are left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def retype_ends(path: Path, types: Mapping[str, str]) -> bool:
    """Change the types of inputs and outputs of a file in place.

    Args:
        path: an ``.onnx`` file. Its external data stays where it is.
        types: floating-point types by the names of inputs and outputs, such as "float16". The
            others stay as they are.

    Returns:
        Whether the file was changed.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    ends = _Ends(model.graph, types)
    changed = [ends.retype_input(each) for each in model.graph.input]
    changed += [ends.retype_output(each) for each in model.graph.output]
    if any(changed):
        onnx.save(model, path)
    return any(changed)


class _Ends:
    def __init__(self, graph: "onnx.GraphProto", types: Mapping[str, str]) -> None:
        from onnx import TensorProto

        known = {
            "float16": TensorProto.FLOAT16,
            "float32": TensorProto.FLOAT,
            "float64": TensorProto.DOUBLE,
        }
        self.graph = graph
        self.types = {name: known[each] for name, each in types.items() if each in known}
        self.known = {each.name: _type_of(each) for each in graph.value_info}

    def retype_input(self, value: "onnx.ValueInfoProto") -> bool:
        name, former = value.name, _type_of(value)
        wanted = self.types.get(name, former)
        if wanted == former:
            return False
        value.type.tensor_type.elem_type = wanted
        outputs = {each.name for each in self.graph.output}
        inner = f"{name}.inside"
        readers = [node for node in self.graph.node if name in node.input]
        casts = [each for each in readers if _casts_to(each, wanted)]
        casts = [each for each in casts if each.output[0] not in outputs]
        for node in readers:
            if node not in casts:
                _replace(node.input, name, inner)
        for cast in casts:
            self.graph.node.remove(cast)
            self._rename(cast.output[0], name)
        if any(inner in node.input for node in self.graph.node):
            self.graph.node.insert(0, _cast(name, inner, former))
        return True

    def retype_output(self, value: "onnx.ValueInfoProto") -> bool:
        name, former = value.name, _type_of(value)
        wanted = self.types.get(name, former)
        if wanted == former:
            return False
        value.type.tensor_type.elem_type = wanted
        inner = f"{name}.inside"
        self._rename(name, inner)
        source = next(node for node in self.graph.node if inner in node.output)
        before = source.input[0] if _casts_to(source, former) else ""
        if self.known.get(before) == wanted:
            if not any(inner in node.input for node in self.graph.node):
                self.graph.node.remove(source)
            inner = before
        self.graph.node.append(_cast(inner, name, wanted))
        return True

    def _rename(self, name: str, new: str) -> None:
        for node in self.graph.node:
            _replace(node.input, name, new)
            _replace(node.output, name, new)


def _replace(names: "list[str]", name: str, new: str) -> None:
    for place, each in enumerate(names):
        if each == name:
            names[place] = new


def _type_of(value: "onnx.ValueInfoProto") -> int:
    return int(value.type.tensor_type.elem_type)


def _casts_to(node: "onnx.NodeProto", wanted: int) -> bool:
    return node.op_type == "Cast" and any(
        each.name == "to" and each.i == wanted for each in node.attribute
    )


def _cast(name: str, output: str, to: int) -> "onnx.NodeProto":
    from onnx import helper

    return helper.make_node("Cast", [name], [output], output, to=to)
