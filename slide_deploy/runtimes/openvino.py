"""OpenVINO on the CPU, with float32 enforced: by default it may compute in bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.runtimes.base import Session, message_lines

_FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


def load(path: Path) -> Session:
    """Load an ``.xml`` file and its ``.bin``; its one input is the image.

    Raises:
        InputError: if OpenVINO refuses the file.
    """
    import openvino

    with _refusals(path):
        compiled = openvino.Core().compile_model(path, "CPU", _FLOAT32)
        if len(compiled.inputs) != 1 or not compiled.outputs:
            raise InputError(f"{path} does not take one input: it is no image classifier.")
        shape = compiled.input(0).partial_shape
        sizes = tuple(None if size.is_dynamic else size.get_length() for size in shape)
        element = compiled.input(0).get_element_type()
        # OpenVINO hands out int16 for what numpy does not know.
        dtype = "bfloat16" if element.get_type_name() == "bf16" else element.to_dtype().name
        outputs = tuple(_name(output, index) for index, output in enumerate(compiled.outputs))
    request = compiled.create_infer_request()

    def run(images: np.ndarray) -> list[np.ndarray]:
        request.infer([images])
        return [request.get_output_tensor(index).data.copy() for index in range(len(outputs))]

    version = openvino.__version__.split("-")[0]
    return Session("openvino", version, sizes, outputs, run, dtype)


def inner_values(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every floating-point value of the file that depends on the image, for one image, by name.

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
        answers = compiled([image.astype(compiled.input(0).get_element_type().to_dtype())])
    return {str(index): answers[output] for index, output in enumerate(compiled.outputs)}


def _name(output: Any, index: int) -> str:
    """What callers ask for; an output may have several names, or none."""
    return min(output.get_names(), default=str(index))


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, UnicodeDecodeError) as error:
        reason = message_lines(error)[-1]
        raise InputError(f"{path} does not load on OpenVINO ({reason}).") from error
