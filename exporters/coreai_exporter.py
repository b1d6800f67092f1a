"""Core AI assets through torch.export, with Apple's converter."""

from pathlib import Path

from exporters.base import ExportRequest


def write(request: ExportRequest, path: Path) -> None:
    """Write the asset ``path``, a folder; see ``Exporter.write``."""
    from coreai.runtime import AIModelAssetMetadata
    from coreai_torch import TorchConverter, get_decomp_table

    program = request.program.run_decompositions(get_decomp_table())
    # Otherwise every operator names files of this machine.
    converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)
    converter.add_exported_program(
        program,
        input_names=[each.name for each in request.inputs],
        output_names=list(request.outputs),
    )
    metadata = AIModelAssetMetadata()
    for key, value in request.metadata.items():
        metadata.set_custom(key, value)
    converter.to_coreai().save_asset(path, metadata)
