"""ONNX through torch.onnx.export(dynamo=True): one file, standard operators, opset 20."""

from pathlib import Path

from exporters.base import INPUT_NAME, OUTPUT_NAME, ExportRequest
from slide_deploy import __version__

# The first opset with Gelu as one operator; ONNX Runtime runs it since 1.17.
OPSET = 20


def write(request: ExportRequest, path: Path) -> tuple[Path, ...]:
    """Write ``path``; see ``Exporter.write``."""
    import torch

    program = torch.onnx.export(
        request.program,
        (),
        dynamo=True,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
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
    program.save(str(path), external_data=False)
    return (path,)
