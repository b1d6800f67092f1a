"""Float16 weights and arithmetic in ONNX, with float32 operators where necessary.

Every value has the type of the operator that computes it. If operators of the other type read the
value, they share one Cast. Adjacent float32 operators have no Cast between them, so no value passes
through float16. The types of inputs and outputs do not change. In contrast,
``onnxruntime.transformers.float16`` casts each float32 operator on both sides, and silently clips
values outside the range of float16.

    stays in float32    operators in the plan's ``others``; operators that the standard defines for
                        float32 only; operators with a constant that float16 cannot represent, such
                        as a small epsilon
    weights             float16 if it can represent them, with a Cast for float32 operators
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporters.declarations import wide_operators
from exporters.onnx_weights import save
from exporters.quantisation.plan import QuantisationPlan
from slide_deploy.backends.onnxruntime import large_models
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY
from slide_deploy.graph_checks.weight_widths import weight_widths

if TYPE_CHECKING:
    import onnx

# float16 has 11 significant bits, so rounding changes a normal number by at most 2^-12 of it.
_ROUNDING = 2.0**-10
# Number of elements that are converted to float64 at once.
_PIECE = 1 << 22
_HALF, _FLOAT = "float16", "float32"


def halve(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Convert weights and arithmetic of a float32 file to float16.

    Raises:
        InputError: if the file has control flow.
    """
    import onnx

    graph = read_graph(source)
    weights = {name for width in weight_widths(graph) for name in width.node.inputs[:2]}
    # Inference copies the model, so that large weights come in behind it.
    model = onnx.shape_inference.infer_shapes(large_models.load(source))
    large_models.load_all(model, source.parent)
    _Conversion(model, set(plan.operators), weights).run()
    save(model, target)
    wide = wide_operators(target)
    if wide:
        model.metadata_props.add(key=FLOAT_OPERATORS_KEY, value=json.dumps(wide))
        save(model, target)


def survives(array: NDArray[np.floating]) -> bool:
    """Return whether float16 can represent an array: no overflow, and only rounding errors."""
    error = size = 0.0
    flat = array.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        exact = flat[start : start + _PIECE].astype(np.float64)
        with np.errstate(over="ignore"):
            half = exact.astype(np.float16).astype(np.float64)
        finite = np.isfinite(exact)
        if not np.array_equal(half[~finite], exact[~finite], equal_nan=True):
            return False
        error += ((half - exact)[finite] ** 2).sum()
        size += (exact[finite] ** 2).sum()
    return bool(error <= _ROUNDING**2 * size)


class _Conversion:
    """The conversion of one model to float16.

    Args:
        model: a model with the type of every value; it is changed.
        halved: names of the operators that compute in float16.
        weights: names of constants to store in float16 even if float32 operators read them.
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
        """Convert the model."""
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
        """Return whether an operator computes in float16.

        Raises:
            InputError: if the operator contains a subgraph.
        """
        if any(each.HasField("g") or each.graphs for each in node.attribute):
            raise InputError(
                f"{node.name} ({node.op_type}) contains a subgraph, which is not converted to "
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
        """Yield the float inputs that an operator may read in a type, with their positions."""
        if node.op_type == "Cast":
            return
        formals = self._schema(node).inputs
        for place, name in enumerate(node.input):
            if name in self.types and _allows(formals[min(place, len(formals) - 1)], dtype):
                yield name, place

    def _given(self, node: "onnx.NodeProto", place: int) -> str | None:
        """Return the output type of an operator that computes in float16; None if not a float."""
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
        """Return the name of a value in a type; a Cast is added if the value has the other type."""
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
        """Cast outputs of the file back to float32."""
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
        """Yield the types and shapes of the intermediates."""
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
    """Return the float32 tensors in the attributes of an operator."""
    from onnx import numpy_helper

    found = (numpy_helper.to_array(each.t) for each in node.attribute if each.HasField("t"))
    return [array for array in found if array.dtype == np.float32]


def _state_type(node: "onnx.NodeProto") -> None:
    """Change float32 to float16 in the attributes of an operator."""
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
