"""Writes networks with other tools, without slide-deploy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from slide_deploy.deployable.record import Deployable


def write_onnx(deployable: Deployable, path: Path) -> None:
    """Write the trained network with ``torch.onnx.export(dynamo=True)``."""
    program = torch.onnx.export(
        deployable.network(),
        deployable.examples,
        dynamo=True,
        input_names=[each.name for each in deployable.inputs],
        output_names=list(deployable.outputs),
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)


def write_openvino(deployable: Deployable, path: Path) -> None:
    """Write the trained network with OpenVINO's own conversion and a fixed input size."""
    import openvino

    examples = deployable.examples
    shapes: Any = [tuple(each.shape) for each in examples]
    model = openvino.convert_model(deployable.network(), example_input=examples, input=shapes)
    for place, each in enumerate(deployable.inputs):
        model.input(place).get_tensor().set_names({each.name})
    for place, name in enumerate(deployable.outputs):
        model.output(place).get_tensor().set_names({name})
    openvino.save_model(model, path, compress_to_fp16=False)


# By format: writes the trained network, which is not changed, with the format's own converter.
WRITERS: dict[str, Callable[[Deployable, Path], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
}
FORMATS = tuple(WRITERS)
