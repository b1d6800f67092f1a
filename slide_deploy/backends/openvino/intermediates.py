"""The values inside an OpenVINO file, computed on the CPU in float32."""

from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Feeds
from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.openvino.network import port_of, refusals, target_name
from slide_deploy.backends.openvino.properties import properties_of
from slide_deploy.backends.openvino.signal_stack import use_own_stack
from slide_deploy.machine import usable_threads


def intermediates(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every floating-point value of the file that depends on these inputs, by name.

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
        use_own_stack()
        ports = [port_of(*item) for item in enumerate(compiled.inputs)]
        answers = compiled([feeds[port.name].astype(port.dtype) for port in ports])
    return {str(index): answers[output] for index, output in enumerate(compiled.outputs)}
