"""Int8 in ONNX: integer matmuls, or 8-bit weights only. ``onnx_half`` has float16.

In int8, QuantizeLinear and DequantizeLinear precede the operators that gain speed. Weights are
int8 with a scale for each output channel, activations uint8 with one scale and a zero point. ONNX
Runtime multiplies them with the CPU's integer instructions and outputs floats. Outputs are not
quantised, so no value is rounded twice.

Other int8 constants are expanded by Cast and Mul, which ONNX Runtime folds when it loads the file.
It would compute DequantizeLinear again in every call.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.onnx_weights import apart, save
from exporters.quantisation.examples import Feeds
from exporters.quantisation.int8_constants import addends_of, to_int8, weights_of
from exporters.quantisation.onnx_half import halve
from exporters.quantisation.plan import QuantisationPlan
from slide_deploy.files.scratch import temporary_folder
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY
from slide_deploy.graph_checks.weight_widths import float_operators

if TYPE_CHECKING:
    import onnx

__all__ = ["halve", "quantise", "quantise_weights"]


def quantise(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Quantise weights and activations of a float32 file to 8 bits."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        """Iterates over the examples."""

        def __init__(self) -> None:
            self._left: Iterator[Feeds] = iter(plan.examples)

        def get_next(self) -> dict[str, object] | None:
            feeds = next(self._left, None)
            return None if feeds is None else dict(feeds)

    kinds = ["MatMul", "Gemm", "Conv"]
    with temporary_folder() as scratch:
        # ONNX Runtime refuses a name of data that the current folder has, wherever it would write.
        draft = scratch / f"{scratch.name}.onnx"
        quantize_static(
            source,
            draft,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            nodes_to_quantize=list(plan.operators),
            per_channel=True,
            # CPUs without VNNI add pairs of products in 16 bits, which overflow with the full
            # range.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            use_external_data_format=apart(source).exists(),
            extra_options={"OpTypesToExcludeOutputQuantization": kinds, "WeightSymmetric": True},
        )
        _rewrite(source, draft, dict.fromkeys(addends_of(read_graph(draft))), target)


def quantise_weights(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Quantise the weights of a float32 file to 8 bits; it still computes in float32."""
    graph = read_graph(source)
    kept = {name for node in graph.nodes if node.name in plan.others for name in node.inputs}
    weights = {name: axis for name, axis in weights_of(graph).items() if name not in kept}
    _rewrite(source, source, weights | dict.fromkeys(addends_of(graph)), target)


def _rewrite(named: Path, content: Path, stored: Mapping[str, int | None], target: Path) -> None:
    """Write a file with some constants as int8, and with the metadata of its source.

    Args:
        named: file with the producer, operator sets and metadata of the new file.
        content: file with the graph of the new file.
        stored: names of constants, each with the axis of its scales.
        target: path to write.
    """
    import onnx

    before, model = onnx.load(named, load_external_data=False), onnx.load(content)
    _store(model.graph, stored)
    model = _stored_once(model)
    used = {node.domain for node in model.graph.node}
    for entry in [each for each in model.opset_import if each.domain not in used | {""}]:
        model.opset_import.remove(entry)
    model.producer_name, model.producer_version = before.producer_name, before.producer_version
    model.graph.name = before.graph.name
    del model.metadata_props[:]
    model.metadata_props.extend(before.metadata_props)
    save(model, target)
    kept = json.dumps(float_operators(read_graph(target)))
    model.metadata_props.add(key=FLOAT_OPERATORS_KEY, value=kept)
    save(model, target)


def _stored_once(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Store equal constants once, because the quantiser duplicates shared weights."""
    import onnx_ir
    from onnx_ir.passes.common import DeduplicateHashedInitializersPass

    held = onnx_ir.from_proto(model)
    DeduplicateHashedInitializersPass(size_limit=sys.maxsize)(held)
    return onnx_ir.to_proto(held)


def _store(graph: "onnx.GraphProto", stored: Mapping[str, int | None]) -> None:
    """Store constants as int8; the Mul that expands one takes over its name.

    Args:
        graph: the graph; it is changed.
        stored: names of constants, each with the axis of its scales.
    """
    from onnx import TensorProto, helper, numpy_helper

    constants = {each.name: each for each in graph.initializer}
    new: list[onnx.NodeProto] = []
    for name, axis in stored.items():
        found = to_int8(numpy_helper.to_array(constants[name]), axis)
        graph.initializer.remove(constants[name])
        graph.initializer.append(numpy_helper.from_array(found.values, f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(found.scale, f"{name}.scale"))
        cast, to = f"{name}.cast", TensorProto.FLOAT
        new.append(helper.make_node("Cast", [f"{name}.int8"], [cast], cast, to=to))
        new.append(helper.make_node("Mul", [cast, f"{name}.scale"], [name], f"{name}.scaled"))
    nodes = [*new, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
