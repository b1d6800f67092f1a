"""Run the trained network in float64; written files are verified against its outputs."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from slide_deploy.deployable.inputs import Input
from slide_deploy.deployable.network import Network
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.foreign import find_candidates
from slide_deploy.models.slide_attention import SlideAttentionBase
from slide_deploy.models.window_attention import WindowAttention
from slide_deploy.process.torch_defaults import float64_by_default
from slide_deploy.verification.cases import Case, NamedOutputs
from slide_deploy.verification.dataflow import Recorded, ancestors, are_only_projected
from slide_deploy.verification.divergence import LayerOutput

# Files arrange the intermediates of these layers differently, so only their outputs are compared.
_WHOLE = (SlideAttentionBase, WindowAttention, nn.MultiheadAttention)

# How the outputs of a file are computed that a network was read from.
FILE = "float32 of the file"


@dataclass(frozen=True)
class TrainedReference:
    """The true outputs of a network.

    Attributes:
        outputs: outputs of each case, by name.
        dtype: type in which they were computed: "float64", "float32" if the network requires that
            type somewhere, or ``FILE``.
    """

    outputs: tuple[NamedOutputs, ...]
    dtype: str

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know about it: sentences without a full stop."""
        if self.dtype in ("float64", FILE):
            return ()
        return (
            f"the network cannot be computed in float64, so files were compared with {self.dtype}",
        )


def trained_outputs(deployable: Deployable, cases: Sequence[Case]) -> TrainedReference:
    """Compute every output of every case; the network is not changed.

    Raises:
        InputError: if the network cannot be run.
    """
    if deployable.reference is not None:
        return _file_outputs(deployable, deployable.reference, cases)
    try:
        exact = deployable.double()
        with float64_by_default():
            outputs = tuple(_case_outputs(exact, deployable, case, torch.float64) for case in cases)
        return TrainedReference(outputs, "float64")
    except Exception:  # a network that fixes a type may raise any error when it meets float64
        pass
    network = deployable.network()
    try:
        outputs = tuple(_case_outputs(network, deployable, case, torch.float32) for case in cases)
    except Exception as error:  # a user's network may raise any error
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"{deployable.origin.name} raised an error while it ran in PyTorch ({reason}): correct "
            f"its forward, as files can only be verified against a network that runs."
        ) from error
    return TrainedReference(outputs, "float32")


def _file_outputs(
    deployable: Deployable, reference: nn.Module, cases: Sequence[Case]
) -> TrainedReference:
    """Compute the outputs of the file that a network was read from."""
    # The copy opens the file, and takes what the runtime holds along when it goes.
    network = deployable.network(copy.deepcopy(reference))
    outputs = tuple(_case_outputs(network, deployable, case, torch.float32) for case in cases)
    return TrainedReference(outputs, FILE)


def _case_outputs(
    network: Network, deployable: Deployable, case: Case, dtype: torch.dtype
) -> NamedOutputs:
    def call(feeds: NamedOutputs) -> NamedOutputs:
        with torch.no_grad():
            given = network(*_tensors(deployable.inputs, feeds, dtype))
        values = [value.numpy() for value in given]
        return dict(zip(deployable.outputs, values, strict=True))

    return case.run(call)


def _tensors(
    inputs: Sequence[Input], feeds: Mapping[str, np.ndarray], dtype: torch.dtype
) -> list[Tensor]:
    tensors = [torch.from_numpy(np.ascontiguousarray(feeds[each.name])) for each in inputs]
    return [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]


def layer_outputs(deployable: Deployable, case: Case) -> list[LayerOutput]:
    """Run a network in float64 and record the output of every layer."""
    try:
        return _layer_outputs(deployable, case, recorded=True)
    except Exception:  # some operations on tensors are allowed only while no gradient is recorded
        return _layer_outputs(deployable, case, recorded=False)


def _layer_outputs(deployable: Deployable, case: Case, recorded: bool) -> list[LayerOutput]:
    """See ``layer_outputs``.

    Args:
        deployable: the trained network.
        case: the inputs.
        recorded: whether autograd records which layers each layer depends on.
    """
    exact = deployable.double().requires_grad_(recorded)
    outputs: list[LayerOutput] = []
    nodes: list[Recorded] = []
    watched = _watched(exact.module)
    containers = {name.rpartition(".")[0] for name, _ in watched}
    handles = [
        module.register_forward_hook(_recording_hook(name, outputs, nodes, name in containers))
        for name, module in watched
    ]
    tensors = _tensors(deployable.inputs, case.inputs, torch.float64)
    with float64_by_default(), torch.set_grad_enabled(recorded):
        # A network may write into its inputs. Autograd forbids that for the leaves of its graph.
        # Multiplying by one gives tensors that are not leaves.
        given = exact(
            *(
                tensor.requires_grad_(recorded) * 1 if tensor.is_floating_point() else tensor
                for tensor in tensors
            )
        )
    for handle in handles:
        handle.remove()
    if not recorded:
        return outputs
    results = [tensor.grad_fn for tensor in given]
    *found, reaching = ancestors(nodes, results)
    projected = are_only_projected(nodes, results)
    return [
        replace(
            output,
            ancestors=behind,
            reaches_output=place in reaching,
            # Only projections take over the weights of a normalisation.
            alternatives=() if output.is_norm and not is_projected else output.alternatives,
        )
        for place, (output, behind, is_projected) in enumerate(
            zip(outputs, found, projected, strict=True)
        )
    ]


def _watched(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers whose outputs a written file contains."""
    # Only the innermost module counts: what encloses it contains layers that files keep.
    foreign = {candidate.names[0] for candidate in find_candidates(model)}
    inside: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, _WHOLE) or name in foreign:
            inside |= {f"{name}.{below}" for below, _ in module.named_modules() if below}
    return [
        (name, module)
        for name, module in model.named_modules()
        if name
        and name not in inside
        and not isinstance(module, nn.ModuleList | nn.ModuleDict | nn.ParameterList)
    ]


def _recording_hook(  # type: ignore[no-untyped-def]
    name: str, outputs: list[LayerOutput], nodes: list[Recorded], is_container: bool
):
    """Make a hook that records the input and the outputs of a layer, and what computed them.

    Args:
        name: name of the layer.
        outputs: outputs of all layers so far; the hook appends to it.
        nodes: autograd node of each output; the hook appends to it.
        is_container: whether the layer consists of other watched layers.
    """

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], given: object) -> None:
        tensors = [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]
        # Modules may be called by keyword alone.
        first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        if isinstance(module, nn.LayerNorm) and _is_of_cells(first, outputs):
            return
        source, reads = _read(first, nodes)
        for tensor in tensors:
            if tensor.is_floating_point():
                value = tensor.detach().numpy().copy()
                others = tuple(
                    other.detach().numpy() for other in _rewritten(module, first, tensor)
                )
                is_norm = isinstance(module, nn.LayerNorm)
                outputs.append(
                    LayerOutput(
                        name,
                        value,
                        others,
                        is_norm=is_norm,
                        source=source,
                        reads=reads,
                        is_container=is_container,
                    )
                )
                nodes.append(tensor.grad_fn)

    return keep


def _read(given: Tensor | None, nodes: Sequence[Recorded]) -> tuple[int | None, np.ndarray | None]:
    """The index of the layer whose output is read, or a copy of the input if there is none."""
    if given is None or not given.is_floating_point():
        return None, None
    # Containers finish last, so the search goes backwards.
    places = [place for place, node in enumerate(nodes) if node is not None]
    source = next((place for place in reversed(places) if nodes[place] is given.grad_fn), None)
    return (source, None) if source is not None else (None, given.detach().numpy().copy())


def _is_of_cells(given: Tensor | None, outputs: Sequence[LayerOutput]) -> bool:
    """Whether a normalisation reads the joined positions of a cell as channels.

    A file may have them in another order.
    """
    before = outputs[-1].value if outputs else None
    return (
        before is not None
        and given is not None
        and before.size == given.numel()
        and before.shape[-1] < given.shape[-1]
        and before.ndim == given.ndim
    )


def _rewritten(module: nn.Module, given: Tensor | None, output: Tensor) -> tuple[Tensor, ...]:
    """Arrays that a file may hold instead of a layer's output, because of the passes."""
    if isinstance(module, nn.LayerNorm) and given is not None:
        # The next projection holds the weights, and the pass absorbed_biases may have added 1.
        plain = functional.layer_norm(given, module.normalized_shape, eps=module.eps)
        return plain, plain + 1
    if isinstance(module, nn.Conv2d) and output.dim() == 4:
        # The pass channels_first may have written weights that subtract the mean over channels.
        return (output - output.mean(dim=1, keepdim=True),)
    if isinstance(module, nn.Linear):
        return (output - output.mean(dim=-1, keepdim=True),)
    return ()
