"""Core ML ML program through torch.export."""

from pathlib import Path
from typing import Any

import torch

from exporters.base import INPUT_NAME, MAX_BATCH, ExportRequest


def write(request: ExportRequest, path: Path) -> None:
    """Write the package ``path``, a folder; see ``Exporter.write``."""
    import coremltools

    batch = coremltools.RangeDim(1, MAX_BATCH, default=1) if request.dynamic_batch else 1
    shape = coremltools.Shape((batch, *request.image_shape))
    model = coremltools.convert(
        _without_aliases(request.program.run_decompositions({})),
        convert_to="mlprogram",
        inputs=[coremltools.TensorType(name=INPUT_NAME, shape=shape)],
        outputs=[coremltools.TensorType(name=name) for name in request.outputs],
        compute_precision=_precision(request.precision),
        minimum_deployment_target=coremltools.target.iOS16,
        skip_model_load=True,
    )
    model.user_defined_metadata.update(request.metadata)
    model.save(str(path))


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
