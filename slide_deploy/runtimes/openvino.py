"""OpenVINO on the CPU, with float32 enforced: by default it may compute in bfloat16."""

from pathlib import Path

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.runtimes.base import Session


def load(path: Path) -> Session:
    """Load an ``.xml`` file and its ``.bin``; first input the image, first output the logits.

    Raises:
        InputError: if OpenVINO refuses the file.
    """
    import openvino

    try:
        compiled = openvino.Core().compile_model(
            path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path} does not load on OpenVINO ({reason}).") from error
    request = compiled.create_infer_request()

    def run(images: np.ndarray) -> np.ndarray:
        request.infer([images])
        return request.get_output_tensor(0).data.copy()

    shape = compiled.input(0).partial_shape
    sizes = tuple(None if size.is_dynamic else size.get_length() for size in shape)
    return Session("openvino", openvino.__version__.split("-")[0], sizes, run)
