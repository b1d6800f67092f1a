"""Core ML ML program through torch.export."""

from pathlib import Path
from typing import Any

import torch

from exporters.base import ExportRequest
from exporters.tracing import MAX_BATCH
from slide_deploy.deployable.inputs import BATCH_NAME, Input

# Largest open size but the batch: Core ML wants to know one.
_MAX_SIZE = 8192


def write(request: ExportRequest, path: Path) -> None:
    """Write the package ``path``, a folder; see ``Exporter.write``."""
    import coremltools

    model = coremltools.convert(
        _without_aliases(request.program.run_decompositions({})),
        convert_to="mlprogram",
        inputs=[_tensor_type(each) for each in request.inputs],
        outputs=[coremltools.TensorType(name=name) for name in request.outputs],
        compute_precision=_precision(request.precision),
        minimum_deployment_target=coremltools.target.iOS16,
        skip_model_load=True,
    )
    model.user_defined_metadata.update(request.metadata)
    model.save(str(path))


def _tensor_type(ours: Input) -> Any:
    import coremltools
    import numpy as np

    sizes = []
    for axis, size in enumerate(ours.example.shape):
        name = ours.open.get(axis)
        if name is None:
            sizes.append(size)
        else:
            most = MAX_BATCH if name == BATCH_NAME else _MAX_SIZE
            sizes.append(coremltools.RangeDim(1, most, default=size))
    whole = ours.example.dtype.kind in "iub"
    return coremltools.TensorType(
        name=ours.name,
        shape=coremltools.Shape(tuple(sizes)),
        dtype=np.int32 if whole else np.float32,
    )


def _without_aliases(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Leave out second names of a value, which the converter does not know.

    A slice of all rows, as a map in one strip is, decomposes into one.
    """
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    return program


def _precision(name: str) -> Any:
    import coremltools

    if name != "mixed":
        return coremltools.precision(name)
    # The projections hold nearly all weights and most of the arithmetic. Normalisations, attention
    # and the residual sums are where float16 loses its digits.
    return coremltools.transform.FP16ComputePrecision(
        lambda operation: operation.op_type == "linear"
    )
