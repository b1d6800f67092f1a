"""Writes LiteRT ``.tflite`` files with litert-torch, and adds names and metadata afterwards."""

import os
from pathlib import Path
from types import ModuleType

import torch

from exporters.base import ExportRequest
from exporters.litert_file import completed
from slide_deploy.backends.native_messages import muted
from slide_deploy.errors import InputError
from slide_deploy.precisions import FLOAT16


def refuse(request: ExportRequest) -> None:
    """Refuse open sizes: litert-torch 0.10.0 does not support reshapes with computed sizes.

    Raises:
        InputError: if a size is open.
    """
    names = request.deployable.open_names
    if names:
        raise InputError(
            f"litert files have fixed sizes, as litert-torch cannot leave {' and '.join(names)} "
            f"open: leave litert out, or write one file for each size that you need."
        )


def write(request: ExportRequest, path: Path) -> None:
    """Write ``path``; see ``Exporter.write``."""
    litert_torch = _imported()
    module = request.single.module(check_guards=False)
    examples = tuple(torch.from_numpy(each.example) for each in request.inputs)
    content = litert_torch.convert(module, examples).model_content()
    if request.precision == FLOAT16.name:
        content = _with_half_weights(content)
    inputs = [each.name for each in request.inputs]
    path.write_bytes(completed(content, inputs, request.outputs, request.metadata))


def _with_half_weights(content: bytes) -> bytes:
    """Return the file with float16 weights and Dequantize operators, which XNNPACK supports."""
    with muted():
        from ai_edge_quantizer import qtyping, quantizer
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
    half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    maker = quantizer.Quantizer(bytearray(content))
    maker.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=half,
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key=AlgorithmName.FLOAT_CASTING,
    )
    return bytes(maker.quantize().quantized_model)


def _imported() -> ModuleType:
    """Import the converter without the messages that its C++ code prints to stderr."""
    # Hide warnings and statistics, unless the user set the variable.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with muted():
        import litert_torch
    return litert_torch
