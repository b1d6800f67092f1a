"""Writes OpenVINO IR directly from a ``torch.export`` program."""

import json
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from exporters.base import ExportRequest
from exporters.declarations import wide_operators
from exporters.openvino_matmuls import clip_matmuls
from exporters.openvino_model import save
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY
from slide_deploy.precisions import FLOAT16
from slide_deploy.program.tracing import MAX_BATCH


def write(request: ExportRequest, path: Path) -> None:
    """Write ``path`` and the ``.bin`` beside it; see ``Exporter.write``."""
    from openvino.passes import ConstantFolding, Manager

    by_constants = request.deployable.open_names == (BATCH_NAME,) and keeps_batch_first(
        request.open
    )
    model = _converted(request, request.single if by_constants else request.program, by_constants)
    if by_constants and not _is_batch_first(model):
        # Passes for a single image moved the batch axis.
        model = _converted(request, request.open, by_constants)
    # With a sized input, some reshapes before matmuls compute their sizes from weights: fold these.
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    clip_matmuls(model)
    for key, value in request.metadata.items():
        model.set_rt_info(value, key.split("."))
    save(model, path, compress_to_fp16=request.precision == FLOAT16.name)
    # OpenVINO keeps weights in float32 that float16 cannot represent.
    wide = wide_operators(path) if request.precision == FLOAT16.name else ()
    if wide:
        model.set_rt_info(json.dumps(wide), FLOAT_OPERATORS_KEY.split("."))
        save(model, path, compress_to_fp16=True)


def _converted(
    request: ExportRequest, program: torch.export.ExportedProgram, by_constants: bool
) -> Any:
    """Convert a program to an OpenVINO model with the names and open sizes of the request.

    Args:
        request: what is written.
        program: the network.
        by_constants: write the sizes of reshapes as constants, see ``_open_batch``.
    """
    import openvino

    model = openvino.convert_model(program)
    for index, ours in enumerate(request.inputs):
        model.input(index).get_tensor().set_names({ours.name})
        if ours.pixels:
            model.get_parameters()[index].set_layout(openvino.Layout(ours.layout.upper()))
    for index, name in enumerate(request.outputs):
        model.output(index).get_tensor().set_names({name})
        model.get_results()[index].set_friendly_name(name)
    if by_constants:
        # The converter opens input sizes that it does not need. The sizes of reshapes are known
        # only while all input sizes are fixed.
        model.reshape({ours.name: _shape(ours, is_open=False) for ours in request.inputs})
        _open_batch(model)
    model.reshape({ours.name: _shape(ours) for ours in request.inputs})
    return model


def _is_batch_first(model: Any) -> bool:
    """Return whether no computed value has an open size other than the first."""
    shapes = (
        list(value.get_partial_shape())
        for operation in model.get_ordered_ops()
        for value in operation.outputs()
    )
    return not any(size.is_dynamic for sizes in shapes for size in sizes[1:])


def _shape(ours: Input, is_open: bool = True) -> Any:
    import openvino

    sizes = []
    for axis, size in enumerate(ours.example.shape):
        name = ours.open.get(axis) if is_open else None
        bounds = (1, MAX_BATCH) if name == BATCH_NAME else (1, -1)
        sizes.append(openvino.Dimension(*((size,) if name is None else bounds)))
    return openvino.PartialShape(sizes)


def keeps_batch_first(program: torch.export.ExportedProgram) -> bool:
    """Return whether the batch is the first size of every tensor and only reshapes read it.

    Args:
        program: a program with an open batch and no other open size.
    """
    reshapes = (torch.ops.aten.view.default, torch.ops.aten.reshape.default)
    for node in program.graph.nodes:
        for value in pytree.tree_leaves(node.meta.get("val")):
            if isinstance(value, torch.Tensor) and not all(
                isinstance(size, int) for size in value.shape[1:]
            ):
                return False
        reads_size = any(
            isinstance(other.meta.get("val"), torch.SymInt) for other in node.all_input_nodes
        )
        is_size = isinstance(node.meta.get("val"), torch.SymInt)
        if (
            reads_size
            and not is_size
            and node.op == "call_function"
            and node.target not in reshapes
        ):
            return False
    return True


def _open_batch(model: Any) -> None:
    """Give every reshape the constant sizes (-1, ...), so that the batch comes from the data.

    A program with an open batch computes the sizes of reshapes at run time. Here the batch is
    always part of the first dimension, so the constant -1 is equivalent.
    """
    import numpy as np
    from openvino import opset13

    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "Reshape" and _depends_on_input(operation):
            sizes = list(operation.output(0).shape)
            if len(sizes) > 1:
                pattern = opset13.constant(np.array([-1, *sizes[1:]], dtype=np.int64))
                operation.input(1).replace_source_output(pattern.output(0))


def _depends_on_input(operation: Any) -> bool:
    """Return whether an operation depends on an input; reshapes of constants do not."""
    waiting, seen = [operation], set()
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == "Parameter":
            return True
        if node.get_friendly_name() not in seen:
            seen.add(node.get_friendly_name())
            waiting.extend(value.get_node() for value in node.input_values())
    return False
