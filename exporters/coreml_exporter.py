"""Core ML ML program through torch.export."""

from pathlib import Path
from typing import Any

from exporters.base import INPUT_NAME, MAX_BATCH, ExportRequest


def write(request: ExportRequest, path: Path) -> None:
    """Write the package ``path``, a folder; see ``Exporter.write``."""
    import coremltools

    batch = coremltools.RangeDim(1, MAX_BATCH, default=1) if request.dynamic_batch else 1
    shape = coremltools.Shape((batch, *request.image_shape))
    model = coremltools.convert(
        request.program.run_decompositions({}),
        convert_to="mlprogram",
        inputs=[coremltools.TensorType(name=INPUT_NAME, shape=shape)],
        outputs=[coremltools.TensorType(name=name) for name in request.outputs],
        compute_precision=_precision(request.precision),
        minimum_deployment_target=coremltools.target.iOS16,
        skip_model_load=True,
    )
    model.user_defined_metadata.update(request.metadata)
    model.save(str(path))


def _precision(name: str) -> Any:
    import coremltools

    if name != "mixed":
        return coremltools.precision(name)
    # The projections hold nearly all weights and most of the arithmetic. Normalisations, attention
    # and the residual sums are where float16 loses its digits.
    return coremltools.transform.FP16ComputePrecision(
        lambda operation: operation.op_type == "linear"
    )
