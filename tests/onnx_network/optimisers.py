"""What other tools do to a file before it is folded."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

# Smaller constants are sizes and single numbers, which tools leave as they are.
_SMALL = 8


def slimmed(path: Path, output: Path) -> None:
    """``onnxslim``."""
    import onnxslim

    onnxslim.slim(str(path), str(output))


def simplified(path: Path, output: Path) -> None:
    """``onnxsim``."""
    import onnxsim

    model, agrees = onnxsim.simplify(onnx.load(path))
    assert agrees
    onnx.save(model, output)


def scripted(path: Path, output: Path) -> None:
    """The optimiser of onnxscript."""
    import onnx_ir
    from onnxscript import optimizer

    model = onnx_ir.load(path)
    optimizer.optimize(model)
    onnx_ir.save(model, output)


def by_runtime(path: Path, output: Path, level: str = "BASIC") -> None:
    """ONNX Runtime's optimiser, which writes the graph that it would run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(
        onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}"
    )
    options.optimized_model_filepath = str(output)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def by_runtime_extended(path: Path, output: Path) -> None:
    """ONNX Runtime's optimiser at the level that fuses operators of its own."""
    by_runtime(path, output, "EXTENDED")


def with_constant_nodes(path: Path, output: Path) -> None:
    """Every initialiser becomes a ``Constant`` node."""
    model = onnx.load(path)
    made = [
        helper.make_node("Constant", [], [tensor.name], value=tensor)
        for tensor in model.graph.initializer
    ]
    del model.graph.initializer[:]
    _put_first(model, made)
    onnx.save(model, output)


def hidden(path: Path, output: Path) -> None:
    """Weights are read through ``Transpose``, ``Reshape``, ``Cast`` or ``Identity``, in turn."""
    model = onnx.load(path)
    kept: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for turn, tensor in enumerate(model.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL:
            kept.append(tensor)
            continue
        name, way = tensor.name, turn % 4
        raw = f"{name}/raw"
        if way == 0:
            order = list(reversed(range(values.ndim)))
            kept.append(numpy_helper.from_array(np.ascontiguousarray(values.T), raw))
            nodes.append(helper.make_node("Transpose", [raw], [name], perm=order))
        elif way == 1:
            sizes = numpy_helper.from_array(np.array(values.shape, np.int64), f"{name}/sizes")
            kept += [numpy_helper.from_array(values.ravel(), raw), sizes]
            nodes.append(helper.make_node("Reshape", [raw, sizes.name], [name]))
        elif way == 2:
            kept.append(numpy_helper.from_array(values.astype(np.float64), raw))
            nodes.append(helper.make_node("Cast", [raw], [name], to=onnx.TensorProto.FLOAT))
        else:
            kept.append(numpy_helper.from_array(values, raw))
            nodes.append(helper.make_node("Identity", [raw], [name]))
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    _put_first(model, nodes)
    onnx.save(model, output)


def with_external_data(path: Path, output: Path) -> None:
    """The weights lie in a file of their own; sizes of reshapes may not."""
    onnx.save_model(
        onnx.load(path),
        output,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=256,
    )


def _put_first(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
