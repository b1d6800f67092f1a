"""Writes ONNX with torch.onnx.export(dynamo=True): standard operators, opset 20."""

import re
import sys
from pathlib import Path
from typing import Any

from exporters.base import ExportRequest
from exporters.onnx_weights import save
from slide_deploy import __version__

# The first opset with Gelu as one operator. ONNX Runtime supports it since 1.17.
OPSET = 20


def write(request: ExportRequest, path: Path) -> None:
    """Write ``path``; see ``Exporter.write``."""
    import onnx_ir.passes.common
    import torch

    program = torch.onnx.export(
        request.program,
        (),
        dynamo=True,
        input_names=[each.name for each in request.inputs],
        output_names=list(request.outputs),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    model = program.model
    model.producer_name, model.producer_version = "slide-deploy", __version__
    model.metadata_props.clear()
    model.metadata_props.update(request.metadata)
    for node in model.graph:
        # Remove Python stack traces, which contain paths of this machine.
        node.metadata_props.clear()
    _rename_intermediates(model.graph)
    taken = {value.name for node in model.graph for value in node.outputs}
    for name, value in list(model.graph.initializers.items()):
        own = name.removeprefix("module.")  # prefix of the wrapper class Network
        value.name = name if own in taken else own
    _name_open_sizes(model, request)
    # No size limit: each strip has its own transposed copy of a weight.
    onnx_ir.passes.common.DeduplicateInitializersPass(size_limit=sys.maxsize)(model)
    save(model, path)


def _rename_intermediates(graph: Any) -> None:
    """Rename the intermediates that have the name of an input or output.

    PyTorch numbers intermediates itself, without looking at the names that it is given.
    """
    ends = (*graph.inputs, *graph.outputs)
    taken = {value.name for value in ends}
    for node in graph:
        for value in node.outputs:
            if value.name in taken and not any(value is end for end in ends):
                value.name = f"{value.name}_inside"


def _name_open_sizes(model: Any, request: ExportRequest) -> None:
    """Replace torch's symbols for open sizes by their names, in the shape of every value."""
    import onnx_ir

    names: dict[str, str] = {}
    for value, ours in zip(model.graph.inputs, request.inputs, strict=True):
        for axis, name in ours.open.items():
            names[str(value.shape[axis].value)] = name
    symbols = re.compile(r"\b(?:" + "|".join(map(re.escape, names)) + r")\b")
    values = [value for node in model.graph for value in node.outputs]
    for value in [*model.graph.inputs, *values] if names else ():
        if value.shape is not None:
            value.shape = onnx_ir.Shape(
                [
                    size
                    if isinstance(size, int)
                    else symbols.sub(lambda found: names[found[0]], str(size.value))
                    for size in value.shape
                ]
            )
