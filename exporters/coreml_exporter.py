"""Core ML ML program through torch.export."""

from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from exporters.base import ExportRequest
from exporters.refusals import refuse_node, remedy
from slide_deploy.deployable.inputs import BATCH_NAME, Input
from slide_deploy.program.tracing import MAX_BATCH

# Largest open size but the batch: Core ML wants to know one.
_MAX_SIZE = 8192


# Programs decomposed in order to look for operators, until they are written: decomposing takes as
# long as tracing. They share their weights with the programs that they are of.
_looked_through: WeakKeyDictionary[torch.export.ExportedProgram, torch.export.ExportedProgram] = (
    WeakKeyDictionary()
)
# Converted where the sizes that they compute are numbers, or given as factors.
_RESIZING = "upsample_"


def refuse(request: ExportRequest) -> None:
    """Refuse what coremltools has no translation of, before anything is written.

    Raises:
        InputError: if there is such an operator; the text names it and its layer.
    """
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    advice = remedy(request.deployable, "coreml")
    program = _looked_through[request.program] = _decomposed(request)
    for node in program.graph.nodes:
        if node.op != "call_function" or node.target is torch.ops.aten.alias.default:
            continue
        is_aten = isinstance(node.target, torch._ops.OpOverload)
        kind = node.target.name() if is_aten else getattr(node.target, "__name__", "")
        if _TORCH_OPS_REGISTRY.get_func(kind) is None:
            raise refuse_node(node, "which coremltools does not translate", advice)
        sizes = node.args[1] if kind.startswith(f"aten::{_RESIZING}") else None
        if isinstance(sizes, list | tuple) and not all(isinstance(size, int) for size in sizes):
            why = "which coremltools translates only to sizes that are closed"
            raise refuse_node(node, why, advice)


def write(request: ExportRequest, path: Path) -> None:
    """Write the package ``path``, a folder; see ``Exporter.write``."""
    import coremltools

    program = _looked_through.pop(request.program, None) or _decomposed(request)
    model = coremltools.convert(
        _without_aliases(program),
        convert_to="mlprogram",
        inputs=[_tensor_type(each) for each in request.inputs],
        outputs=[coremltools.TensorType(name=name) for name in request.outputs],
        compute_precision=_precision(request.precision),
        minimum_deployment_target=coremltools.target.iOS16,
        skip_model_load=True,
    )
    model.user_defined_metadata.update(request.metadata)
    model.save(str(path))


def _decomposed(request: ExportRequest) -> torch.export.ExportedProgram:
    """The program in the operators that coremltools translates rightly."""
    return request.program.run_decompositions({torch.ops.aten.rms_norm.default: _rms_norm})


def _rms_norm(
    x: torch.Tensor,
    normalized_shape: list[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    """X / sqrt(mean(x²) + eps), times a weight.

    coremltools has a translation of its own, which divides by the largest number first and adds the
    epsilon behind it: not the same.
    """
    axes = list(range(-len(normalized_shape), 0))
    added = torch.finfo(x.dtype).eps if eps is None else eps
    normalised = x / torch.sqrt(x.pow(2).mean(axes, keepdim=True) + added)
    return normalised if weight is None else normalised * weight


def _tensor_type(ours: Input) -> Any:
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
    whole = ours.example.dtype.kind in "iub"
    return coremltools.TensorType(
        name=ours.name,
        shape=coremltools.Shape(tuple(sizes)),
        dtype=np.int32 if whole else np.float32,
    )


def _without_aliases(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Leave out second names of a value, which the converter does not know.

    A slice of all rows, as a map in one strip is, decomposes into one.
    """
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    return program


def _precision(name: str) -> Any:
    import coremltools

    if name != "mixed":
        return coremltools.precision(name)
    # The projections hold nearly all weights and most of the arithmetic. Normalisations, attention
    # and the residual sums are where float16 loses its digits.
    return coremltools.transform.FP16ComputePrecision(
        lambda operation: operation.op_type == "linear"
    )
