"""Turn the graph of a file into an ``OnnxModule``."""

import itertools
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from slide_deploy.errors import InputError
from slide_deploy.onnx_network.host_values import as_tensor, is_host
from slide_deploy.onnx_network.module import (
    FUNCTIONS,
    GraphStep,
    OnnxModule,
    without_unused,
)
from slide_deploy.onnx_network.operators import (
    WEIGHTED,
    UnsupportedOperatorError,
    refuse_large,
)
from slide_deploy.onnx_network.reading import array_of, attributes_of
from slide_deploy.onnx_network.windows import is_symmetric, spatial_padding

_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}

# Operators of com.microsoft come from its optimiser and its quantiser.
_BEFORE_ONNXRUNTIME = "give the file as it was before ONNX Runtime rewrote it"


@dataclass
class GraphParts:
    """The parts of a graph while it is turned into a module.

    Attributes:
        inputs: names of the inputs, in order.
        outputs: names of the outputs, in order.
        steps: operators, each behind those that it reads.
        constants: constants by name: host values, or tensors.
        layers: child modules by name.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: list[GraphStep] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, nn.Module] = field(default_factory=dict)

    def module(self) -> OnnxModule:
        """Return the module of these parts. Constants and layers are shared, not copied."""
        return assemble(OnnxModule, self, self.inputs, self.outputs, self.steps)


def assemble(
    kind: type[OnnxModule],
    parts: GraphParts,
    inputs: Sequence[str],
    outputs: Sequence[str],
    steps: Sequence[GraphStep],
) -> OnnxModule:
    """Return a module that runs some steps, with the constants and layers that they use.

    Args:
        kind: its class.
        parts: where the constants and layers are.
        inputs: names of the inputs of the module.
        outputs: names of its outputs.
        steps: its operators.
    """
    read = dict.fromkeys(name for step in steps for name in step.inputs)
    used = [name for name in (*read, *outputs) if name in parts.constants]
    host = {name: parts.constants[name] for name in used if not _is_tensor(parts.constants[name])}
    tensors = {name: parts.constants[name] for name in used if _is_tensor(parts.constants[name])}
    taken = {step.layer for step in steps}
    held: dict[str, str] = {}
    for name in tensors:
        held[name] = unique(path_of(name) or "constant", taken | set(held.values()))
    module = kind(inputs, outputs, steps, host, held)
    for name, tensor in tensors.items():
        module.register_buffer(held[name], tensor)
    for step in steps:
        if step.layer and step.layer not in module._modules:
            module.add_module(step.layer, parts.layers[step.layer])
    return module


def _is_tensor(value: Any) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor)


def path_of(name: str) -> str:
    """Return a name of a graph as the name of a child module, which may have no dots."""
    return name.strip("/").replace(".", "/").replace("::", "/")


def unique(name: str, taken: set[str]) -> str:
    """Return a name that is not taken, with a number behind it if necessary."""
    if name not in taken and not hasattr(OnnxModule, name):
        return name
    number = next(each for each in range(1, len(taken) + 3) if f"{name}_{each}" not in taken)
    return f"{name}_{number}"


def parts_of(model: Any) -> GraphParts:
    """Return the parts of an ``onnx_ir.Model``.

    Raises:
        UnsupportedOperatorError: if an operator cannot be read. The message is a sentence without a
            full stop.
    """
    graph = model.graph
    parts = GraphParts(
        tuple(each.name for each in graph.inputs), tuple(each.name for each in graph.outputs)
    )
    for name, value in graph.initializers.items():
        parts.constants[name] = _constant(name, value.const_value)
    opset = model.opset_imports.get("", 0)
    for place, node in enumerate(graph):
        name = node.name or f"{node.op_type} {place}"
        if node.domain not in ("", "ai.onnx") or node.op_type not in FUNCTIONS:
            kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            message = f"{name} is a {kind}, which cannot be read"
            if node.domain.startswith("com.microsoft"):
                raise UnsupportedOperatorError(message, _BEFORE_ONNXRUNTIME)
            raise UnsupportedOperatorError(message)
        try:
            attributes = attributes_of(node, opset)
        except InputError as error:
            raise UnsupportedOperatorError(f"{name} cannot be read: {error}") from error
        parts.steps.append(
            GraphStep(
                node.op_type,
                name,
                tuple("" if each is None else each.name for each in node.inputs),
                tuple(each.name for each in node.outputs),
                attributes,
            )
        )
    parts.steps = without_unused(parts.steps, parts.outputs)
    fold_constants(parts)
    weighted = (step.inputs for step in parts.steps if step.operator in WEIGHTED)
    for name in itertools.chain.from_iterable(weighted):
        if isinstance(parts.constants.get(name), np.ndarray):
            parts.constants[name] = as_tensor(parts.constants[name])
    _make_layers(parts)
    read = {name for step in parts.steps for name in step.inputs}.union(parts.outputs)
    parts.constants = {name: held for name, held in parts.constants.items() if name in read}
    return parts


def _constant(name: str, stored: Any) -> Any:
    import onnx_ir

    try:
        array = array_of(stored)
    except InputError as error:
        raise UnsupportedOperatorError(f"{name} cannot be read: {error}") from error
    if is_host(array):
        return array
    if isinstance(stored, onnx_ir.ExternalTensor) and not array.flags.writeable:
        array = array.copy()  # to change a weight in a mapped file would end the process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the bytes of a message are not writeable for numpy
        return torch.from_numpy(array)


@torch.no_grad()
def fold_constants(parts: GraphParts) -> None:
    """Replace the operators of constants by their results.

    Raises:
        UnsupportedOperatorError: if the results would hold far more numbers than the constants.
    """
    module = OnnxModule((), (), (), {}, {})
    kept, grown = [], 0
    for step in parts.steps:
        constant = [not name or name in parts.constants for name in step.inputs]
        if not all(constant) or not step.inputs or step.layer:
            kept.append(step)
            continue
        values = [parts.constants.get(name) if name else None for name in step.inputs]
        read = _count(values)
        refuse_large([grown + max(0, _count_of_results(module, step, values) - read)])
        results = module.results(step, values)
        grown += max(0, _count(results) - read)
        refuse_large([grown])
        parts.constants.update(zip(step.outputs, results, strict=False))
    parts.steps = kept


def _count_of_results(module: OnnxModule, step: GraphStep, values: Sequence[Any]) -> int:
    """Return how many numbers an operator makes, from shapes alone; 0 if they do not tell.

    Shapes do not tell where an operator reads sizes from a constant. Such operators check the size
    of their result themselves.
    """
    for kinds in ((Tensor, np.ndarray), Tensor):  # some operators take sizes as host values only
        shapes = [_shape_alone(each) if isinstance(each, kinds) else each for each in values]
        with suppress(UnsupportedOperatorError):
            return _count(module.results(step, shapes))
    return 0


def _shape_alone(value: Any) -> Tensor:
    """Return a tensor of the shape and the type of a constant, without its numbers."""
    dtype = value.dtype if _is_tensor(value) else as_tensor(np.empty(0, value.dtype)).dtype
    return torch.empty(value.shape, dtype=dtype, device="meta")


def _count(values: Iterable[Any]) -> int:
    return sum(each.numel() for each in values if isinstance(each, Tensor))


def _make_layers(parts: GraphParts) -> None:
    """Turn convolutions, matmuls and layer norms with constant weights into child modules."""
    made: dict[tuple[Any, ...], str] = {}
    for place, step in enumerate(parts.steps):
        if step.operator in _MAKERS:
            parts.steps[place] = _layer(parts, step, made) or step
    _add_biases(parts)
    used = {step.layer for step in parts.steps}
    parts.layers = {name: layer for name, layer in parts.layers.items() if name in used}


def _layer(
    parts: GraphParts, step: GraphStep, made: dict[tuple[Any, ...], str]
) -> GraphStep | None:
    """Return the call of a child module that computes a step; None if there is none."""
    weight = parts.constants.get(step.inputs[1]) if len(step.inputs) > 1 else None
    bias_name = step.inputs[2] if len(step.inputs) > 2 else ""
    bias = parts.constants.get(bias_name)
    if not _is_tensor(weight) or (bias_name and not _is_tensor(bias)):
        return None
    plain = {key: value for key, value in step.attributes.items() if key not in ("opset",)}
    key = (step.operator, step.inputs[1], bias_name, repr(sorted(plain.items())))
    if key not in made:
        layer = _MAKERS[step.operator](step, weight, bias)
        if layer is None:
            return None
        made[key] = unique(_layer_name(step, bias_name), set(parts.layers))
        parts.layers[made[key]] = layer.requires_grad_(False)
    return replace(step, operator="", inputs=step.inputs[:1], attributes={}, layer=made[key])


def _layer_name(step: GraphStep, bias: str) -> str:
    """Return the name of a child module: that of its parameters, or of its node."""
    for name, suffix in ((step.inputs[1], ".weight"), (bias, ".bias")):
        if name.endswith(suffix):
            return path_of(name.removesuffix(suffix))
    return path_of(step.name.removesuffix(f"/{step.operator}")) or "layer"


def _add_biases(parts: GraphParts) -> None:
    """Give the biases that are added behind linear layers to those layers.

    A layer may be called several times, with different biases or none.
    """
    readers = Counter(name for step in parts.steps for name in step.inputs)
    readers.update(parts.outputs)
    calls = Counter(step.layer for step in parts.steps)
    producers = {step.outputs[0]: step for step in parts.steps if step.layer}
    biased: dict[tuple[str, str], str] = {}
    steps = list(parts.steps)
    for place, step in enumerate(parts.steps):
        for value, added in (step.inputs, step.inputs[::-1]) if step.operator == "Add" else ():
            call, bias = producers.get(value), parts.constants.get(added)
            if call is None or readers[value] > 1 or not _is_bias(parts.layers[call.layer], bias):
                continue
            key = (call.layer, added)
            if key not in biased:
                layer = parts.layers[call.layer]
                assert isinstance(layer, nn.Linear)  # as _is_bias requires
                if calls[call.layer] == 1:
                    del parts.layers[call.layer]
                own = added.removesuffix(".bias")
                name = call.layer if own == added else path_of(own)
                biased[key] = unique(name, set(parts.layers))
                parts.layers[biased[key]] = _linear(layer.weight, bias)
            steps[place] = replace(call, outputs=step.outputs, layer=biased[key])
    parts.steps = without_unused(steps, parts.outputs)


def _is_bias(layer: nn.Module, constant: Any) -> bool:
    """Whether a constant that is added to the output of a layer can become its bias."""
    return (
        isinstance(layer, nn.Linear)
        and layer.bias is None
        and _is_tensor(constant)
        and constant.shape == (layer.out_features,)
    )


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    # A view would be copied later, when the stored weight is still held.
    _fill(linear, weight.contiguous(), bias)
    return linear


def _fill(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    layer.eval()


def _matmul_layer(step: GraphStep, weight: Tensor, bias: Tensor | None) -> nn.Module | None:
    return _linear(weight.t(), None) if weight.dim() == 2 else None


def _gemm_layer(step: GraphStep, weight: Tensor, bias: Tensor | None) -> nn.Module | None:
    given = step.attributes
    if given.get("transA") or given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1:
        return None
    weight = weight if given.get("transB") else weight.t()
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    return _linear(weight, bias)


def _conv_layer(step: GraphStep, weight: Tensor, bias: Tensor | None) -> nn.Module | None:
    given, axes = step.attributes, weight.dim() - 2
    if given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None  # its zeros depend on the size of the input
    pads = spatial_padding(given, [0] * axes, list(weight.shape[2:]))
    if weight.dim() not in _CONVOLUTIONS or not is_symmetric(pads):
        return None
    group = given.get("group", 1)
    kind: Any = _CONVOLUTIONS[weight.dim()]
    conv: nn.Module = kind(
        weight.shape[1] * group,
        weight.shape[0],
        tuple(weight.shape[2:]),
        tuple(given.get("strides", [1] * axes)),
        tuple(pads[:axes]),
        tuple(given.get("dilations", [1] * axes)),
        group,
        bias is not None,
        device="meta",
    )
    _fill(conv, weight, bias)
    return conv


def _norm_layer(step: GraphStep, weight: Tensor, bias: Tensor | None) -> nn.Module | None:
    if step.attributes.get("axis", -1) != -1 or weight.dim() != 1 or len(step.outputs) > 1:
        return None
    epsilon = step.attributes.get("epsilon", 1e-5)
    norm = nn.LayerNorm(weight.shape, epsilon, bias=bias is not None, device="meta")
    _fill(norm, weight, bias)
    return norm


_MAKERS = {
    "MatMul": _matmul_layer,
    "Gemm": _gemm_layer,
    "Conv": _conv_layer,
    "LayerNormalization": _norm_layer,
}
