"""Core ML ML program through torch.export, float32."""

from pathlib import Path

from exporters.base import INPUT_NAME, MAX_BATCH, OUTPUT_NAME, ExportRequest


def write(request: ExportRequest, path: Path) -> tuple[Path, ...]:
    """Write the package ``path``, a folder; see ``Exporter.write``."""
    import coremltools

    batch = coremltools.RangeDim(1, MAX_BATCH, default=1) if request.dynamic_batch else 1
    shape = coremltools.Shape((batch, *request.image_shape))
    model = coremltools.convert(
        request.program.run_decompositions({}),
        convert_to="mlprogram",
        inputs=[coremltools.TensorType(name=INPUT_NAME, shape=shape)],
        outputs=[coremltools.TensorType(name=OUTPUT_NAME)],
        compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS16,
        skip_model_load=True,
    )
    model.user_defined_metadata.update(request.metadata)
    model.save(str(path))
    return (path,)
