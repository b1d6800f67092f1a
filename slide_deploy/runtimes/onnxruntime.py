"""ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.runtimes.base import Session


def load(path: Path) -> Session:
    """Load an ``.onnx`` file; its first input is the image, its first output the logits.

    Raises:
        InputError: if ONNX Runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings speak of its own optimiser
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no base class for its own errors
        raise InputError(f"{path} does not load on ONNX Runtime ({_line(error)}).") from error
    image, logits = session.get_inputs()[0], session.get_outputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([logits], {image.name: images})[0])

    shape = tuple(size if isinstance(size, int) else None for size in image.shape)
    return Session("onnxruntime", onnxruntime.__version__, shape, run)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
