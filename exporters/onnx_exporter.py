"""ONNX through torch.onnx.export(dynamo=True): one file, standard operators, opset 20."""

import re
import sys
from pathlib import Path
from typing import Any

from exporters.base import BATCH_NAME, INPUT_NAME, ExportRequest
from slide_deploy import __version__

# The first opset with Gelu as one operator; ONNX Runtime runs it since 1.17.
OPSET = 20

# The batch is the one size that can be open.
_SYMBOL = re.compile(r"\bs\d+\b")


def write(request: ExportRequest, path: Path) -> None:
    """Write ``path``; see ``Exporter.write``."""
    import onnx_ir.passes.common
    import torch

    program = torch.onnx.export(
        request.program,
        (),
        dynamo=True,
        input_names=[INPUT_NAME],
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
        # Python stack traces of the machine that exported: nobody who runs the file wants them.
        node.metadata_props.clear()
    _name_open_sizes(model)
    # Without a limit, as each strip has its own transpose of a weight.
    onnx_ir.passes.common.DeduplicateInitializersPass(size_limit=sys.maxsize)(model)
    program.save(str(path), external_data=False)


def _name_open_sizes(model: Any) -> None:
    """Call the open batch by its name in every value: torch leaves its own symbol there."""
    import onnx_ir

    values = [value for node in model.graph for value in node.outputs]
    for value in [*model.graph.inputs, *values]:
        if value.shape is not None:
            value.shape = onnx_ir.Shape(
                [
                    size if isinstance(size, int) else _SYMBOL.sub(BATCH_NAME, str(size.value))
                    for size in value.shape
                ]
            )
