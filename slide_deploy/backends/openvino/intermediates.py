"""Intermediates of an OpenVINO file, computed on the CPU in float32."""

from pathlib import Path
from typing import Any

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
    """Return every floating-point value that the file computes; see `Target`."""
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
        # Before each value becomes an output, because outputs have names of their own.
        known = {_place(output): _name(output) for output in kept}
        model.add_outputs(kept)
        places = [_place(result.input_value(0)) for result in model.get_results()]
        compiled = core.compile_model(
            model, "CPU", properties_of("CPU", Configuration(usable_threads()))
        )
        use_own_signal_stack()
        ports = [port_of(*item) for item in enumerate(compiled.inputs)]
        outputs = compiled([feeds[port.name].astype(port.dtype) for port in ports])
    return {
        known[place]: outputs[output]
        for place, output in zip(places, compiled.outputs, strict=True)
        if place in known
    }


def _place(output: Any) -> tuple[str, int]:
    """Return the unique name of an operator, and which of its outputs this is."""
    return output.get_node().get_name(), output.get_index()


def _name(output: Any) -> str:
    """Return the name of a value as the format's reader in the graph checks forms it."""
    node = output.get_node()
    readers = (each.get_node() for each in output.get_target_inputs())
    if any(each.get_type_name() == "Result" for each in readers) and output.get_names():
        return str(min(output.get_names()))
    name = str(node.get_friendly_name())
    return f"{name}:{output.get_index()}" if node.get_output_size() > 1 else name
