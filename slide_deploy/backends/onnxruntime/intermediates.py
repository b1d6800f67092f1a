"""Intermediates of an ONNX file, computed by ONNX Runtime without its optimiser."""

from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.backends.base import Feeds
from slide_deploy.backends.native_messages import line_of
from slide_deploy.backends.onnxruntime import large_models
from slide_deploy.backends.onnxruntime.half_arithmetic import has_float16, with_rounding
from slide_deploy.backends.onnxruntime.session import TYPES
from slide_deploy.errors import InputError

# With the fallback enabled, a failed session is tried a second time and prints to stdout.
_CPU: Any = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}


def intermediates(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Return every floating-point value that the file computes; see `Target`.

    The graph runs unoptimised, and float16 values are rounded; see `half_arithmetic`.
    """
    import onnx
    import onnxruntime

    try:
        model = large_models.load(path)
        if has_float16(model):
            model = with_rounding(model, path.parent)
        outputs = {output.name for output in model.graph.output}
        for node in model.graph.node:
            for name in node.output:
                if name and name not in outputs:
                    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
        with large_models.openable(model, path.parent, options) as content:
            session = onnxruntime.InferenceSession(content, options, **_CPU)
        names = [output.name for output in session.get_outputs()]
        dtypes = {each.name: TYPES.get(each.type, each.type) for each in session.get_inputs()}
        given = {name: feeds[name].astype(dtype) for name, dtype in dtypes.items()}
        values = session.run(names, given)
    except Exception as error:  # onnx and onnxruntime have no base class for their errors
        raise InputError(f"{path} does not load on onnxruntime:cpu ({line_of(error)}).") from error
    return {
        name: value
        for name, value in zip(names, values, strict=True)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"  # others are sequences
    }
