"""ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.backends.base import Feeds, Port, Session, message_lines
from slide_deploy.backends.onnxruntime.half_arithmetic import has_float16, rounded_twin

# Without a fallback: it would try the same again, and say so on stdout.
_CPU: Any = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}


def load(path: Path, arithmetic: str = "float32") -> Session:
    """Load an ``.onnx`` file.

    Args:
        path: of the file.
        arithmetic: "float16" for the rounding that a file of float16 says, which ONNX Runtime
            leaves out on processors; see ``half_arithmetic``. Other files are run as they are.

    Raises:
        InputError: if ONNX Runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings speak of its own optimiser
    name = "onnxruntime"
    try:
        content: Path | bytes = path
        if arithmetic == "float16" and has_float16(model := _read(path)):
            name += " in float16"
            content = rounded_twin(model).SerializeToString()
        session = onnxruntime.InferenceSession(content, options, **_CPU)
    except Exception as error:  # onnxruntime has no base class for its own errors
        raise InputError(
            f"{path} does not load on ONNX Runtime ({message_lines(error)[0]})."
        ) from error
    if not session.get_inputs() or not session.get_outputs():
        raise InputError(f"{path} has no input or no output: export the model again.")
    outputs = tuple(output.name for output in session.get_outputs())

    def run(feeds: Feeds) -> list[np.ndarray]:
        return [np.asarray(output) for output in session.run(outputs, dict(feeds))]

    ports = tuple(
        Port(
            each.name,
            tuple(size if isinstance(size, int) else None for size in each.shape),
            _dtype(each),
        )
        for each in session.get_inputs()
    )
    metadata = session.get_modelmeta().custom_metadata_map
    return Session(name, onnxruntime.__version__, ports, outputs, run, metadata)


def inner_values(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every floating-point value of the file for these inputs, by name.

    The graph runs as it is written, without ONNX Runtime's optimiser; float16 is rounded.

    Raises:
        InputError: if ONNX Runtime refuses the file.
    """
    import onnx
    import onnxruntime

    try:
        model = onnx.load(path)
        if has_float16(model):
            model = rounded_twin(model)
        outputs = {output.name for output in model.graph.output}
        for node in model.graph.node:
            for name in node.output:
                if name and name not in outputs:
                    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, **_CPU)
        names = [output.name for output in session.get_outputs()]
        taken = {each.name: feeds[each.name].astype(_dtype(each)) for each in session.get_inputs()}
        answers = session.run(names, taken)
    except Exception as error:  # onnx and onnxruntime have no base class for their errors
        raise InputError(
            f"{path} does not load on ONNX Runtime ({message_lines(error)[0]})."
        ) from error
    return {
        name: value for name, value in zip(names, answers, strict=True) if value.dtype.kind == "f"
    }


def _read(path: Path) -> Any:
    import onnx

    return onnx.load(path)


def _dtype(value: Any) -> str:
    """The type of an input as numpy spells it."""
    name = str(value.type).removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
