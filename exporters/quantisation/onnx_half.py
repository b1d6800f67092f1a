"""Float16 in ONNX: weights and arithmetic, with float32 left where it is needed.

Every value has the type of the operator that gives it. Where an operator of the other type reads
it, a Cast stands between, one for all readers; operators that stay in float32 side by side have
none between them, so that no number passes through float16 on its way. Inputs and outputs stay as
they are. ``onnxruntime.transformers.float16`` does otherwise: it casts each such operator on both
sides, and cuts off numbers that float16 lacks without a word.

    stays in float32    what the plan says; what the standard defines for float32 alone; what reads
                        a constant that float16 cannot hold, as a small epsilon
    weights             float16 wherever that can hold them, behind a Cast if need be
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporters.declarations import wide_operators
from exporters.quantisation.plan import QuantisationPlan
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY
from slide_deploy.graph_checks.weight_widths import weight_widths

if TYPE_CHECKING:
    import onnx

# float16 has 11 significant bits, so that rounding costs at most 2^-12 of a normal number.
_ROUNDING = 2.0**-10
_HALF, _FLOAT = "float16", "float32"


def halve(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Write a file whose weights and arithmetic are float16.

    Args:
        source: the file in float32.
        target: the file to write.
        plan: which operators compute in float16, and which do not.

    Raises:
        InputError: if the file has control flow.
    """
    import onnx

    graph = read_graph(source)
    weights = {name for width in weight_widths(graph) for name in width.node.inputs[:2]}
    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    _Conversion(model, set(plan.operators), weights).run()
    onnx.save(model, target)
    wide = wide_operators(target)
    if wide:
        model.metadata_props.add(key=FLOAT_OPERATORS_KEY, value=json.dumps(wide))
        onnx.save(model, target)


def survives(array: NDArray[np.floating]) -> bool:
    """Whether float16 holds an array: nothing overflows, and no more is lost than by rounding."""
    exact = array.astype(np.float64)
    with np.errstate(over="ignore"):
        half = array.astype(np.float16).astype(np.float64)
    finite = np.isfinite(exact)
    if not np.array_equal(half[~finite], exact[~finite], equal_nan=True):
        return False
    error, size = (half - exact)[finite], exact[finite]
    return bool((error**2).sum() <= _ROUNDING**2 * (size**2).sum())


class _Conversion:
    """One model on its way to float16.

    Args:
        model: with a type for every value; it is changed.
        halved: names of the operators that compute in float16.
        weights: names of constants that are stored in float16 even for others.
    """

    def __init__(self, model: "onnx.ModelProto", halved: set[str], weights: set[str]) -> None:
        from onnx import numpy_helper

        self.model, self.graph, self.halved, self.weights = model, model.graph, halved, weights
        self.version = next(each.version for each in model.opset_import if not each.domain)
        self.known = {
            each.name: each
            for each in (*self.graph.input, *self.graph.value_info, *self.graph.output)
        }
        self.stored = {
            each.name: numpy_helper.to_array(each)
            for each in self.graph.initializer
            if each.data_type == each.FLOAT
        }
        self.holds = {name: survives(array) for name, array in self.stored.items()}
        self.types = {
            name: _FLOAT
            for name, value in self.known.items()
            if value.type.tensor_type.elem_type == 1
        } | dict.fromkeys(self.stored, _FLOAT)
        self.nodes: list[onnx.NodeProto] = []
        self.casts: dict[tuple[str, str], str] = {}

    def run(self) -> None:
        """Change the model."""
        from onnx import numpy_helper

        taken = list(self.graph.node)
        halved = {id(node) for node in taken if self._is_halved(node)}
        read = {
            name for node in taken if id(node) in halved for name, _ in self._slots(node, _HALF)
        }
        for tensor in self.graph.initializer:
            name = tensor.name
            if name in self.stored and self.holds[name] and name in read | self.weights:
                array = self.stored[name].astype(np.float16)
                tensor.CopyFrom(numpy_helper.from_array(array, name))
                self.types[name] = _HALF
        for node in taken:
            self._convert(node, id(node) in halved)
        outputs = [value.name for value in self.graph.output]
        self._restore(outputs)
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        self.graph.value_info.extend(self._described(set(outputs)))

    def _is_halved(self, node: "onnx.NodeProto") -> bool:
        """Whether an operator computes in float16."""
        if any(each.HasField("g") or each.graphs for each in node.attribute):
            raise InputError(
                f"{node.name} has a network inside ({node.op_type}), which is not written in "
                f"float16: choose another --precision."
            )
        slots = list(self._slots(node, _HALF))
        if node.op_type == "Constant":
            return all(survives(array) for array in _tensors(node))
        gives = any(self._given(node, place) == _HALF for place in range(len(node.output)))
        return (
            node.name in self.halved
            and (bool(slots) or gives)
            and all(self.holds.get(name, True) for name, _ in slots)
        )

    def _slots(self, node: "onnx.NodeProto", dtype: str) -> Iterator[tuple[str, int]]:
        """Floats that an operator may read in a type, and their places."""
        if node.op_type == "Cast":
            return
        formals = self._schema(node).inputs
        for place, name in enumerate(node.input):
            if name in self.types and _allows(formals[min(place, len(formals) - 1)], dtype):
                yield name, place

    def _given(self, node: "onnx.NodeProto", place: int) -> str | None:
        """The type of an output of an operator that computes in float16; None if it is no float."""
        name = node.output[place]
        if self.types.get(name) is None:
            return None
        formals = self._schema(node).outputs
        return _HALF if _allows(formals[min(place, len(formals) - 1)], _HALF) else _FLOAT

    def _schema(self, node: "onnx.NodeProto") -> Any:
        import onnx

        return onnx.defs.get_schema(node.op_type, self.version, node.domain)

    def _convert(self, node: "onnx.NodeProto", is_half: bool) -> None:
        wanted = {place: _HALF for _, place in self._slots(node, _HALF)} if is_half else {}
        for place, name in enumerate(node.input):
            if name in self.types and node.op_type != "Cast":
                node.input[place] = self._as(name, wanted.get(place, _FLOAT))
        for place, name in enumerate(node.output):
            given = self._given(node, place) if is_half else self.types.get(name)
            if given is not None:
                self.types[name] = given
        if is_half:
            _state_type(node)
        self.nodes.append(node)

    def _as(self, name: str, dtype: str) -> str:
        """The name of a value in a type; a Cast is put in front where it has the other one."""
        from onnx import TensorProto, helper

        if self.types[name] == dtype:
            return name
        if (name, dtype) not in self.casts:
            cast = f"{name}.{dtype}"
            to = TensorProto.FLOAT16 if dtype == _HALF else TensorProto.FLOAT
            self.nodes.append(helper.make_node("Cast", [name], [cast], cast, to=to))
            self.casts[name, dtype] = cast
        return self.casts[name, dtype]

    def _restore(self, outputs: list[str]) -> None:
        """Give outputs of the file the type that they had."""
        from onnx import TensorProto, helper

        for output in outputs:
            if self.types.get(output) != _HALF:
                continue
            inner = f"{output}.{_HALF}"
            for node in self.nodes:
                for names in (node.input, node.output):
                    for place, name in enumerate(names):
                        if name == output:
                            names[place] = inner
            name = f"{output}.{_FLOAT}"
            to = TensorProto.FLOAT
            self.nodes.append(helper.make_node("Cast", [inner], [output], name, to=to))
            self.casts[output, _HALF] = inner

    def _described(self, outside: set[str]) -> "Iterator[onnx.ValueInfoProto]":
        """The types and shapes of the values inside."""
        import onnx

        of = {_HALF: onnx.TensorProto.FLOAT16, _FLOAT: onnx.TensorProto.FLOAT}
        inputs = {value.name for value in self.graph.input}
        for name, value in self.known.items():
            if name in outside | inputs:
                continue
            if name in self.types:
                value.type.tensor_type.elem_type = of[self.types[name]]
            yield value
        for (name, dtype), cast in self.casts.items():
            if name in self.known:
                copy = onnx.ValueInfoProto()
                copy.CopyFrom(self.known[name])
                copy.name, copy.type.tensor_type.elem_type = cast, of[dtype]
                yield copy


def _allows(formal: Any, dtype: str) -> bool:
    return ("tensor(float16)" if dtype == _HALF else "tensor(float)") in formal.types


def _tensors(node: "onnx.NodeProto") -> list[NDArray[np.floating]]:
    """The floats in the attributes of an operator."""
    from onnx import numpy_helper

    found = (numpy_helper.to_array(each.t) for each in node.attribute if each.HasField("t"))
    return [array for array in found if array.dtype == np.float32]


def _state_type(node: "onnx.NodeProto") -> None:
    """Let the attributes of an operator that say float32 say float16."""
    from onnx import TensorProto, helper, numpy_helper

    stated = {each.name: each for each in node.attribute}
    for name in ("to", "dtype") if node.op_type != "LayerNormalization" else ():
        if name in stated and stated[name].i == TensorProto.FLOAT:
            stated[name].i = TensorProto.FLOAT16
    if node.op_type == "ConstantOfShape" and "value" not in stated:
        node.attribute.append(
            helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float16)))
        )
    for attribute in node.attribute:
        if attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(attribute.t).astype(np.float16)
            attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))
