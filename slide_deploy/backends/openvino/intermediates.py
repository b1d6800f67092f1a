"""Intermediates of an OpenVINO file, computed on the CPU in float32."""

from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Configuration, Feeds
from slide_deploy.backends.openvino.network import (
    port_of,
    refusals,
    target_name,
    use_own_signal_stack,
)
from slide_deploy.backends.openvino.properties import properties_of
from slide_deploy.machine import usable_threads


def intermediates(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Return every floating-point value that the file computes for these inputs, by name.

    Raises:
        InputError: if OpenVINO refuses the file.
    """
    import openvino

    with refusals(path, target_name("CPU")):
        core = openvino.Core()
        model = core.read_model(path)
        kept = [
            operation.output(index)
            for operation in model.get_ordered_ops()
            if operation.get_type_name() not in ("Constant", "Result", "Parameter")
            for index in range(operation.get_output_size())
            if operation.output(index).get_element_type().is_real()
        ]
        model.add_outputs(kept)
        compiled = core.compile_model(
            model, "CPU", properties_of("CPU", Configuration(usable_threads()))
        )
        use_own_signal_stack()
        ports = [port_of(*item) for item in enumerate(compiled.inputs)]
        outputs = compiled([feeds[port.name].astype(port.dtype) for port in ports])
    return {str(index): outputs[output] for index, output in enumerate(compiled.outputs)}
