"""OpenVINO IR straight from torch.export."""

from pathlib import Path
from typing import Any

from exporters.base import INPUT_NAME, MAX_BATCH, ExportRequest
from exporters.openvino_products import clip_products


def write(request: ExportRequest, path: Path) -> None:
    """Write ``path`` and the ``.bin`` beside it; see ``Exporter.write``."""
    import openvino
    from openvino.passes import ConstantFolding, Manager

    model = openvino.convert_model(request.single)
    model.input(0).get_tensor().set_names({INPUT_NAME})
    for index, name in enumerate(request.outputs):
        model.output(index).get_tensor().set_names({name})
        model.get_results()[index].set_friendly_name(name)
    if request.dynamic_batch:
        # The converter opens sizes of the input that it can do without; the sizes of the reshapes
        # can be read only where all are known.
        model.reshape({INPUT_NAME: openvino.PartialShape([1, *request.image_shape])})
        _open_batch(model)
    batch = openvino.Dimension(1, MAX_BATCH) if request.dynamic_batch else openvino.Dimension(1)
    model.reshape({INPUT_NAME: openvino.PartialShape([batch, *request.image_shape])})
    # Giving the input a size lets reshapes before products compute their sizes from the weights'.
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    clip_products(model)
    for key, value in request.metadata.items():
        model.set_rt_info(value, key.split("."))
    openvino.save_model(model, path, compress_to_fp16=request.precision == "float16")


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
