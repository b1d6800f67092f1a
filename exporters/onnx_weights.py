"""Save an ONNX model, with its weights in a second file if one file cannot hold them.

``onnx_ir`` writes the second file as the external data of the standard: tensors one behind the
other, in the order of the graph. The main file keeps tensors of up to 256 bytes, such as shapes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Union

from slide_deploy.backends.onnxruntime import large_models
from slide_deploy.formats import ONNX

if TYPE_CHECKING:
    import onnx
    import onnx_ir


def apart(path: Path) -> Path:
    """Return the path of the file that holds the weights of a large model."""
    return path.with_suffix(ONNX.weights_apart)


def save(model: Union["onnx.ModelProto", "onnx_ir.Model"], path: Path) -> None:
    """Write a model that holds all of its weights in memory, replacing an older one.

    Args:
        model: the model; it is not changed.
        path: path of the main file. Weights of more than ``large_models.LARGEST`` bytes go to
            ``apart(path)``; otherwise there is no such file afterwards.
    """
    import onnx
    import onnx_ir

    is_message = isinstance(model, onnx.ModelProto)
    size = large_models.held_bytes(model.graph) if is_message else _size(model)
    apart(path).unlink(missing_ok=True)
    if size > large_models.LARGEST:
        held = onnx_ir.from_proto(model) if is_message else model
        onnx_ir.save(held, path, external_data=apart(path).name)
        return
    (onnx.save if is_message else onnx_ir.save)(model, path)


def _size(model: "onnx_ir.Model") -> int:
    """Return the bytes of all initialisers."""
    values = (value for graph in model.graphs() for value in graph.initializers.values())
    return sum(value.const_value.nbytes for value in values if value.const_value is not None)
