"""OpenVINO on the CPU. What it computes in is enforced: by default it may take bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.backends.base import Feeds, Port, Session, message_lines

# Of the keys that slide-deploy stores with a file.
PREFIX = "slide_deploy."
_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
# As OpenVINO abbreviates them.
_SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def load(path: Path, arithmetic: str = "float32") -> Session:
    """Load an ``.xml`` file and its ``.bin``.

    Args:
        path: of the ``.xml`` file.
        arithmetic: what it is to compute in: "float32", "float16" or "bfloat16".

    Raises:
        InputError: if OpenVINO refuses the file, or the processor the arithmetic.
    """
    import openvino

    told = _FLOAT32 | {"INFERENCE_PRECISION_HINT": _SHORT[arithmetic]}

    with _refusals(path):
        core = openvino.Core()
        model = core.read_model(path)
        compiled = core.compile_model(model, "CPU", told)
        used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if used != _SHORT[arithmetic]:  # it says nothing where the processor lacks it
            raise InputError(
                f"{path} is to be run in {arithmetic}, and OpenVINO computes in {used} on this "
                f"processor: choose another --precision."
            )
        if not compiled.inputs or not compiled.outputs:
            raise InputError(f"{path} has no input or no output: export the model again.")
        ports = tuple(_port(each, index) for index, each in enumerate(compiled.inputs))
        outputs = tuple(_name(output, index) for index, output in enumerate(compiled.outputs))
    request = compiled.create_infer_request()

    def run(feeds: Feeds) -> list[np.ndarray]:
        request.infer([feeds[port.name] for port in ports])
        return [request.get_output_tensor(index).data.copy() for index in range(len(outputs))]

    version = openvino.__version__.split("-")[0]
    name = "openvino" if arithmetic == "float32" else f"openvino in {arithmetic}"
    return Session(name, version, ports, outputs, run, _metadata(model))


def inner_values(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every floating-point value of the file that depends on these inputs, by name.

    Raises:
        InputError: if OpenVINO refuses the file.
    """
    import openvino

    with _refusals(path):
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
        compiled = core.compile_model(model, "CPU", _FLOAT32)
        answers = compiled(
            [
                feeds[port.name].astype(port.dtype)
                for port in (_port(each, index) for index, each in enumerate(compiled.inputs))
            ]
        )
    return {str(index): answers[output] for index, output in enumerate(compiled.outputs)}


def _metadata(model: Any) -> dict[str, str]:
    """What slide-deploy stored with a file; its keys are a tree in OpenVINO."""
    section = PREFIX.rstrip(".")
    if not model.has_rt_info([section]):
        return {}
    stored = model.get_rt_info([section]).value
    entries = stored.items() if isinstance(stored, dict) else ()
    return {f"{PREFIX}{key}": str(getattr(value, "value", value)) for key, value in entries}


def _port(value: Any, index: int) -> Port:
    """An input; its sizes are unknown where not even its rank is known."""
    element = value.get_element_type()
    # OpenVINO hands out int16 for what numpy does not know.
    dtype = "bfloat16" if element.get_type_name() == "bf16" else element.to_dtype().name
    sizes = value.partial_shape
    if sizes.rank.is_dynamic:
        raise InputError(f"The input {_name(value, index)} has no known rank: give it a shape.")
    shape = tuple(None if size.is_dynamic else size.get_length() for size in sizes)
    return Port(_name(value, index), shape, dtype)


def _name(output: Any, index: int) -> str:
    """What callers ask for; an output may have several names, or none."""
    # Converters add numbers of their own.
    return min(output.get_names(), key=lambda name: (name.isdecimal(), name), default=str(index))


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, UnicodeDecodeError) as error:
        reason = message_lines(error)[-1]
        raise InputError(f"{path} does not load on OpenVINO ({reason}).") from error
