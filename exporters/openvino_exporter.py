"""OpenVINO IR straight from torch.export."""

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
        # Rewrites for one image moved the axis that holds the batch.
        model = _converted(request, request.open, by_constants)
    # Giving the input a size lets reshapes before products compute their sizes from the weights'.
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    clip_matmuls(model)
    for key, value in request.metadata.items():
        model.set_rt_info(value, key.split("."))
    save(model, path, compress_to_fp16=request.precision == FLOAT16.name)
    # OpenVINO leaves weights as they are that float16 cannot hold.
    wide = wide_operators(path) if request.precision == FLOAT16.name else ()
    if wide:
        model.set_rt_info(json.dumps(wide), FLOAT_OPERATORS_KEY.split("."))
        save(model, path, compress_to_fp16=True)


def _converted(
    request: ExportRequest, program: torch.export.ExportedProgram, by_constants: bool
) -> Any:
    """A program as a model of OpenVINO with the request's inputs and outputs, open ones open.

    Args:
        request: what is written.
        program: the network.
        by_constants: let constants tell the sizes of reshapes, see ``_open_batch``.
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
        # The converter opens sizes of the input that it can do without; the sizes of the reshapes
        # can be read only where all are known.
        model.reshape({ours.name: _shape(ours, is_open=False) for ours in request.inputs})
        _open_batch(model)
    model.reshape({ours.name: _shape(ours) for ours in request.inputs})
    return model


def _is_batch_first(model: Any) -> bool:
    """Whether no value that is computed has an open size behind its first."""
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
    """Whether the batch is the first size of every tensor and only reshapes are told of it.

    Args:
        program: traced with an open batch, and nothing else open.
    """
    reshapes = (torch.ops.aten.view.default, torch.ops.aten.reshape.default)
    for node in program.graph.nodes:
        for value in pytree.tree_leaves(node.meta.get("val")):
            if isinstance(value, torch.Tensor) and not all(
                isinstance(size, int) for size in value.shape[1:]
            ):
                return False
        told = any(
            isinstance(other.meta.get("val"), torch.SymInt) for other in node.all_input_nodes
        )
        computed = isinstance(node.meta.get("val"), torch.SymInt)
        if told and not computed and node.op == "call_function" and node.target not in reshapes:
            return False
    return True


def _open_batch(model: Any) -> None:
    """Let every reshape keep its last sizes and take the first from the data.

    A program traced with an open batch computes the sizes of its reshapes at run time. Here the
    batch is always part of the first dimension, so that ``-1`` says the same as a constant.
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
    """Whether the image reaches an operation; constants that are reshaped stay as they are."""
    waiting, seen = [operation], set()
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == "Parameter":
            return True
        if node.get_friendly_name() not in seen:
            seen.add(node.get_friendly_name())
            waiting.extend(value.get_node() for value in node.input_values())
    return False
