"""Open an ``.onnx`` file, and simplify its graph for ``module``."""

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from slide_deploy.errors import InputError
from slide_deploy.graph_checks import read_graph

# Types that are computed in the floating-point type of the module.
_FLOATS = {"FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16"}
# Names of the other types in the tables of operators.
_KINDS = {"BOOL": "b", "UINT8": "u8", "INT8": "i8", "INT16": "i16", "INT32": "i32", "INT64": "i"}
# Names of all types in numpy, which lacks bfloat16.
_INPUT_TYPES = {name: name.lower() for name in _KINDS}
_INPUT_TYPES |= {
    "FLOAT": "float32",
    "FLOAT16": "float16",
    "DOUBLE": "float64",
    "BFLOAT16": "float32",
}


def read_model(path: Path) -> Any:
    """Open a file and simplify its graph.

    Functions are inlined, constants become initialisers, unused and identical parts go, and layer
    norms and GELUs that are written out become one operator.

    Args:
        path: an ``.onnx`` file. Weights in files of their own are mapped, not read.

    Returns:
        An ``onnx_ir.Model``.

    Raises:
        InputError: if the file is damaged, or names data outside its folder.
        MissingExtra: if the onnx library is not installed.
    """
    read_graph(path)  # refuses what a stranger's file may do to a library
    import onnx_ir
    from onnx_ir.passes import Sequential, common
    from onnxscript.rewriter import rewrite

    from slide_deploy.onnx_network.rules import WRITTEN_OUT, written_out_rules

    try:
        with _silent():
            model = onnx_ir.load(path)
            Sequential(
                common.InlinePass(),
                common.RemoveInitializersFromInputsPass(),
                common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
                common.IdentityEliminationPass(),
                common.TopologicalSortPass(),
            )(model)
            written = {node.op_type for node in model.graph}
            # Making the rules takes longer than reading a small file.
            for rules in written_out_rules() if written & WRITTEN_OUT else ():
                rewrite(model, rules)
            common.RemoveUnusedNodesPass()(model)
    except Exception as error:  # a stranger's file, any error of the library
        raise InputError(
            f"{path} cannot be read by onnx-ir ({_first_line(error)}): export it again."
        ) from error
    return model


def forget_graphs() -> None:
    """Free graphs that nobody holds any more: they refer to themselves, and hold stored weights."""
    gc.collect()


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress what onnx-ir logs about a graph; what matters becomes an error."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _first_line(error: BaseException) -> str:
    while error.__cause__ is not None:  # onnx-ir tells which object it read, then why it failed
        error = error.__cause__
    text = str(error).strip().partition("\n")[0][:160]
    return text or type(error).__name__


def array_of(tensor: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """Return a stored tensor as an array of a type that PyTorch computes in.

    Floating-point numbers become float32; wider ones are rounded.

    Raises:
        InputError: if it holds texts, or numbers of a type that PyTorch lacks. The message is a
            clause.
    """
    name = tensor.dtype.name
    if name in _FLOATS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # overflow of float64 gives infinity, as in the runtime
            return np.asarray(tensor.numpy()).astype(np.float32, copy=False)
    if name in _INPUT_TYPES:
        return np.asarray(tensor.numpy())
    raise InputError(f"{tensor.name} is of type {name.lower()}")


def attributes_of(node: Any, opset: int) -> dict[str, Any]:
    """Return the attributes of a node as Python values, with ``opset`` and ``outputs`` (a count).

    Raises:
        InputError: if it has subgraphs. The message is a clause.
    """
    found: dict[str, Any] = {"opset": opset, "outputs": len(node.outputs)}
    for name, attribute in node.attributes.items():
        kind = attribute.type.name
        if kind in ("INT", "FLOAT", "STRING"):
            found[name] = attribute.value
        elif kind in ("INTS", "FLOATS", "STRINGS"):
            found[name] = list(attribute.value)
        elif kind == "TENSOR":
            found[name] = array_of(attribute.value)
        else:
            raise InputError(f"it has the attribute {name} of type {kind.lower()}")
    if node.op_type == "Cast":
        if "to" not in found:
            raise InputError("it does not state the type that it casts to")
        found["to"] = kind_of(found["to"])
    return found


def type_of(value: Any) -> str:
    """Return the type of an input as numpy names it, such as "float32".

    Raises:
        InputError: if the input is no tensor of numbers or booleans that PyTorch computes with. The
            message is a clause.
    """
    import onnx_ir

    if not isinstance(value.type, onnx_ir.TensorType):
        kind = "unknown" if value.type is None else type(value.type).__name__.removesuffix("Type")
        raise InputError(f"{value.name} is of type {kind.lower()}")
    name = value.type.dtype.name
    if name not in _INPUT_TYPES:
        raise InputError(f"{value.name} is of type {name.lower()}")
    return _INPUT_TYPES[name]


def kind_of(data_type: int) -> str:
    """Return the kind of an ONNX type: "f" for every floating-point type, "i" for int64, and so on.

    Raises:
        InputError: if PyTorch lacks it. The message is a clause.
    """
    import onnx_ir

    name = onnx_ir.DataType(data_type).name
    if name in _FLOATS:
        return "f"
    if name not in _KINDS:
        raise InputError(f"it casts to {name.lower()}")
    return _KINDS[name]
