"""ONNX models whose weights do not fit one protobuf message, which holds less than 2 GiB.

The standard lets a tensor name a file beside the model, an offset and a length instead of holding
its bytes: external data. A model that is changed before it runs keeps its large tensors there, and
ONNX Runtime reads them itself. Nothing passes more than ``LARGEST`` bytes through a message.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slide_deploy.files.scratch import temporary_folder

if TYPE_CHECKING:
    import onnx

# Bytes of weights that one file may hold: 2 GiB without room for the graph.
LARGEST = 2**31 - 2**27
# Bytes. Constants with shapes, axes and permutations are smaller; shape inference needs them.
_SMALL = 1024
_FOLDER = "session.model_external_initializers_file_folder_path"


def load(path: Path) -> "onnx.ModelProto":
    """Load a model for changes.

    If its weights do not fit one message, those that are external data stay outside, and only
    small tensors are read.
    """
    import onnx
    from onnx import external_data_helper as external

    model = onnx.load(path, load_external_data=False)
    if sum(map(_size, _weights(model.graph))) <= LARGEST:
        load_all(model, path.parent)
        return model
    for tensor in _weights(model.graph):
        if external.uses_external_data(tensor) and _size(tensor) <= _SMALL:
            external.load_external_data_for_tensor(tensor, str(path.parent))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    return model


def load_all(model: "onnx.ModelProto", folder: Path) -> None:
    """Read the tensors of a model that are still outside; ``folder`` is that of its file."""
    from onnx.external_data_helper import load_external_data_for_model

    load_external_data_for_model(model, str(folder))


def held_bytes(graph: "onnx.GraphProto") -> int:
    """Return the bytes of the weights that a graph holds itself, those of its nodes included."""
    from onnx.external_data_helper import uses_external_data

    return sum(_size(each) for each in _weights(graph) if not uses_external_data(each))


@contextmanager
def openable(model: "onnx.ModelProto", folder: Path, options: Any) -> Iterator[bytes | Path]:
    """Give a model in memory to ONNX Runtime, for a block that opens a session.

    Args:
        model: the model. It may be changed.
        folder: the folder of its external data.
        options: the ``SessionOptions``; they get the folder if the session needs it.

    Returns:
        Its bytes, or the path of a temporary file if they do not fit one message.
    """
    if held_bytes(model.graph) <= LARGEST:
        options.add_session_config_entry(_FOLDER, str(folder))
        yield model.SerializeToString()
        return
    import onnx

    load_all(model, folder)
    _lift(model.graph)
    with temporary_folder() as scratch:
        path = scratch / "model.onnx"
        # onnx refuses a name of data that the current folder has, wherever it writes.
        data = f"{scratch.name}.data"
        onnx.save(model, path, save_as_external_data=True, location=data, size_threshold=_SMALL)
        yield path


def _weights(graph: "onnx.GraphProto") -> "Iterator[onnx.TensorProto]":
    """Yield the initialisers of a graph and the tensors of its nodes, such as Constant."""
    yield from graph.initializer
    for node in graph.node:
        yield from (each.t for each in node.attribute if each.HasField("t"))


def _lift(graph: "onnx.GraphProto") -> None:
    """Make initialisers of large Constant nodes, whose tensors cannot be stored outside."""
    for index, node in reversed(list(enumerate(graph.node))):
        tensors = [each.t for each in node.attribute if each.HasField("t")]
        if node.op_type == "Constant" and tensors and _size(tensors[0]) > _SMALL:
            tensors[0].name = node.output[0]
            graph.initializer.append(tensors[0])
            del graph.node[index]


def _size(tensor: "onnx.TensorProto") -> int:
    """Return the bytes of a tensor; at most two or four times too many for types below 8 bits."""
    from onnx.helper import tensor_dtype_to_np_dtype

    return prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
