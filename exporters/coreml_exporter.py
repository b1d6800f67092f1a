"""Writes Core ML packages (ML programs) from a ``torch.export`` program."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.export import ExportedProgram

from exporters.base import ExportRequest
from exporters.coreml_package import save
from exporters.declarations import wide_operators
from exporters.refusals import refuse_node, remedy
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.errors import InputError
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY
from slide_deploy.images.description import PICTURE_SCALE, read_description
from slide_deploy.precisions import FLOAT16
from slide_deploy.program.tracing import MAX_BATCH

# Upper bound of open sizes other than the batch, which Core ML requires.
_MAX_SIZE = 8192
# Outputs of a classifier: the most probable class, and the probabilities before they are named.
_LABEL, _SHARES = "label", "shares"
# Metadata key that makes Xcode offer a preview with an image.
_PREVIEW = "com.apple.coreml.model.preview.type"


# Decomposed programs from `refuse`, kept until they are written: decomposing takes as long as
# tracing. They share weights with the original programs.
_decomposed_programs: WeakKeyDictionary[ExportedProgram, ExportedProgram] = WeakKeyDictionary()
# These are converted only if their output sizes are numbers, or given as factors.
_RESIZING = "upsample_"


def refuse(request: ExportRequest) -> None:
    """Check, before anything is written, that coremltools supports all operators.

    Raises:
        InputError: if an operator is not supported; the message names it and its layer.
    """
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    _refuse_several_pictures(request)
    advice = remedy(request.deployable, "coreml")
    program = _decomposed_programs[request.program] = _decomposed(request)
    for node in program.graph.nodes:
        if node.op != "call_function" or node.target is torch.ops.aten.alias.default:
            continue
        is_aten = isinstance(node.target, torch._ops.OpOverload)
        kind = node.target.name() if is_aten else getattr(node.target, "__name__", "")
        if _TORCH_OPS_REGISTRY.get_func(kind) is None:
            raise refuse_node(node, "which coremltools does not support", advice)
        sizes = node.args[1] if kind.startswith(f"aten::{_RESIZING}") else None
        if isinstance(sizes, list | tuple) and not all(isinstance(size, int) for size in sizes):
            why = "which coremltools supports only with a fixed output size"
            raise refuse_node(node, why, advice)


def _refuse_several_pictures(request: ExportRequest) -> None:
    """Check that Core ML can take the pixel inputs as images.

    Raises:
        InputError: if the batch is not 1, or there are neither 1 nor 3 channels.
    """
    for each in request.inputs:
        if each.pixels and (0 in each.open or each.example.shape[0] != 1):
            raise InputError(
                "Core ML takes one image at a time: leave the batch at 1, or leave out "
                "--embed-preprocessing for coreml."
            )
        if each.pixels and each.example.shape[1] not in (1, 3):
            raise InputError(
                f"Core ML takes images of 1 or 3 channels, not of {each.example.shape[1]}: leave "
                f"out --embed-preprocessing for coreml."
            )


def write(request: ExportRequest, path: Path) -> None:
    """Write the package ``path``, a folder; see ``Exporter.write``."""
    write_keeping(request, path, ())


def write_keeping(request: ExportRequest, path: Path, kept: Collection[str]) -> None:
    """Write the package ``path`` with some operators in float32.

    Args:
        request: what to write.
        path: path of the package.
        kept: output names, in a float32 package of the same network, of the operators that stay in
            float32.
    """
    import coremltools

    program = _decomposed_programs.pop(request.program, None) or _decomposed(request)
    labels = _class_labels(request)
    outputs = [coremltools.TensorType(name=name) for name in request.outputs]
    classifier = None
    if labels:
        outputs = [coremltools.TensorType(name=_SHARES)]
        classifier = coremltools.ClassifierConfig(list(labels), _LABEL, _SHARES)
    model = coremltools.convert(
        _without_aliases(program),
        convert_to="mlprogram",
        inputs=[_input_type(each) for each in request.inputs],
        outputs=outputs,
        classifier_config=classifier,
        compute_precision=_precision(request.precision, kept),
        minimum_deployment_target=coremltools.target.iOS16,
        skip_model_load=True,
    )
    if labels:
        model = _renamed(model, f"{_LABEL}_probs", request.outputs[0])
        model.user_defined_metadata[_PREVIEW] = "imageClassifier"
    model.user_defined_metadata.update(request.metadata)
    save(model, path)
    wide = wide_operators(path) if request.precision == FLOAT16.name else ()
    if wide:
        model.user_defined_metadata[FLOAT_OPERATORS_KEY] = json.dumps(wide)
        save(model, path)


def _class_labels(request: ExportRequest) -> tuple[str, ...]:
    """Return the class names if the package is an image classifier; else ().

    Core ML presents the outputs of a classifier as probabilities, so a network with logits is not
    written as one.
    """
    described = read_description(request.metadata)
    is_classifier = (
        described is not None
        and described.inside
        and described.probabilities
        and len(request.inputs) == len(request.outputs) == 1
    )
    return described.labels if described is not None and is_classifier else ()


def _renamed(model: Any, old: str, new: str) -> Any:
    """Return the model with another name for an output."""
    import coremltools

    spec = model.get_spec()
    coremltools.utils.rename_feature(spec, old, new, rename_inputs=False)
    spec.description.predictedProbabilitiesName = new
    return coremltools.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _decomposed(request: ExportRequest) -> ExportedProgram:
    """Return the program in operators that coremltools converts correctly."""
    return request.program.run_decompositions({torch.ops.aten.rms_norm.default: _rms_norm})


def _rms_norm(
    x: torch.Tensor,
    normalized_shape: list[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    """Compute x / sqrt(mean(x²) + eps), times a weight.

    coremltools' own conversion divides by the largest value before it adds epsilon, which gives
    different results.
    """
    axes = list(range(-len(normalized_shape), 0))
    added = torch.finfo(x.dtype).eps if eps is None else eps
    normalised = x / torch.sqrt(x.pow(2).mean(axes, keepdim=True) + added)
    return normalised if weight is None else normalised * weight


def _input_type(ours: Input) -> Any:
    """Return the Core ML type of an input: an array or an image."""
    import coremltools
    import numpy as np

    sizes = []
    for axis, size in enumerate(ours.example.shape):
        name = ours.open.get(axis)
        if name is None:
            sizes.append(size)
        else:
            most = MAX_BATCH if name == BATCH_NAME else _MAX_SIZE
            sizes.append(coremltools.RangeDim(1, most, default=size))
    if ours.pixels:
        colours = coremltools.colorlayout
        return coremltools.ImageType(
            name=ours.name,
            shape=coremltools.Shape(tuple(sizes)),
            scale=PICTURE_SCALE,
            color_layout=colours.RGB if ours.example.shape[1] == 3 else colours.GRAYSCALE,
        )
    whole = ours.example.dtype.kind in "iub"
    return coremltools.TensorType(
        name=ours.name,
        shape=coremltools.Shape(tuple(sizes)),
        dtype=np.int32 if whole else np.float32,
    )


def _without_aliases(program: ExportedProgram) -> ExportedProgram:
    """Remove aliases, which the converter does not support.

    A slice of all rows, such as that of a feature map in one strip, decomposes into an alias.
    """
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    return program


def _precision(name: str, kept: Collection[str]) -> Any:
    import coremltools

    if kept:
        return coremltools.transform.FP16ComputePrecision(
            lambda operation: not any(each.name in kept for each in operation.outputs)
        )
    if name != "mixed":
        return coremltools.precision(name)
    # The projections have nearly all weights and most of the arithmetic. Normalisations, attention
    # and residual sums are where float16 loses precision.
    return coremltools.transform.FP16ComputePrecision(
        lambda operation: operation.op_type == "linear"
    )
