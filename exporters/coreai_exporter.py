"""Writes Core AI assets from a ``torch.export`` program with Apple's converter."""

import re
from pathlib import Path

from torch.export import ExportedProgram

from exporters.base import ExportRequest
from exporters.refusals import refuse_node, remedy

_OPERATOR = re.compile(r"\baten\.\w+\.\w+")


def write(request: ExportRequest, path: Path) -> None:
    """Write the asset ``path``, a folder; see ``Exporter.write``.

    Raises:
        InputError: if the converter does not support an operator; the message names its layer.
    """
    from coreai.runtime import AIModelAssetMetadata
    from coreai_torch import TorchConverter, get_decomp_table

    program = request.program.run_decompositions(get_decomp_table())
    # In its debug mode every operator stores paths of this machine.
    converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)
    inputs = [each.name for each in request.inputs]
    try:
        converter.add_exported_program(
            program, input_names=inputs, output_names=list(request.outputs)
        )
    except ValueError as error:
        _refuse_operators(request, program, str(error))
        raise
    metadata = AIModelAssetMetadata()
    for key, value in request.metadata.items():
        metadata.set_custom(key, value)
    converter.to_coreai().save_asset(path, metadata)


def _refuse_operators(request: ExportRequest, program: ExportedProgram, message: str) -> None:
    """Raise for the first operator that a message of the converter names.

    Raises:
        InputError: if there is one; the message names its layer.
    """
    named = set(_OPERATOR.findall(message))
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target) in named:
            why = "which Core AI's converter does not support"
            raise refuse_node(node, why, remedy(request.deployable, "coreai"))
