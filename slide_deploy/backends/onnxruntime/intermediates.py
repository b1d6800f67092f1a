"""The values inside an ONNX file, computed by ONNX Runtime as the file is written."""

from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import Feeds
from slide_deploy.backends.files import line_of
from slide_deploy.backends.onnxruntime.half_arithmetic import has_float16, rounded_twin
from slide_deploy.errors import InputError

# Without a fallback: it would try the same again, and say so on stdout.
_CPU: Any = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}


def intermediates(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
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
        raise InputError(f"{path} does not load on onnxruntime:cpu ({line_of(error)}).") from error
    return {
        name: value for name, value in zip(names, answers, strict=True) if value.dtype.kind == "f"
    }


def _dtype(value: Any) -> str:
    """The type of an input as numpy spells it."""
    name = str(value.type).removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
