"""What the trained network answers, in float64: the truth that written files are held against."""

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
from slide_deploy.verification.cases import Answers, Case
from slide_deploy.verification.dataflow import Recorded, ancestors, are_only_projected
from slide_deploy.verification.divergence import LayerOutput

# In files their inner values are arranged differently: they are looked at from outside.
_WHOLE = (SlideAttentionBase, WindowAttention, nn.MultiheadAttention)


@dataclass(frozen=True)
class TrainedReference:
    """The true answers of a network.

    Attributes:
        answers: of each case.
        dtype: in which they were computed: "float64", or "float32" where the network fixes that
            type somewhere.
    """

    answers: tuple[Answers, ...]
    dtype: str

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of it, sentences without a full stop."""
        if self.dtype == "float64":
            return ()
        return (
            f"the network cannot be computed in float64, so files were held against {self.dtype}",
        )


def trained_outputs(deployable: Deployable, cases: Sequence[Case]) -> TrainedReference:
    """Every output of every case; the network is left as it is.

    Raises:
        InputError: if the network cannot be run.
    """
    try:
        exact = deployable.double()
        with float64_by_default():
            answers = tuple(_answers(exact, deployable, case, torch.float64) for case in cases)
        return TrainedReference(answers, "float64")
    except Exception:  # a type that the network fixes meets float64: any error
        pass
    network = deployable.network()
    try:
        answers = tuple(_answers(network, deployable, case, torch.float32) for case in cases)
    except Exception as error:  # a user's network, any error
        reason = str(error).strip().partition("\n")[0][:200]
        raise InputError(
            f"{deployable.origin.name} could not be run to compare its files with it ({reason})."
        ) from error
    return TrainedReference(answers, "float32")


def _answers(network: Network, deployable: Deployable, case: Case, dtype: torch.dtype) -> Answers:
    def call(feeds: Answers) -> Answers:
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
    """Run a network in float64 and keep what every layer answers.

    Args:
        deployable: as trained; left as it is.
        case: the inputs.
    """
    try:
        return _layer_outputs(deployable, case, recorded=True)
    except Exception:  # what a network may do to tensors only where no gradients are recorded
        return _layer_outputs(deployable, case, recorded=False)


def _layer_outputs(deployable: Deployable, case: Case, recorded: bool) -> list[LayerOutput]:
    """See ``layer_outputs``.

    Args:
        deployable: as trained.
        case: the inputs.
        recorded: whether it is recorded which layers each layer is computed from.
    """
    exact = deployable.double().requires_grad_(recorded)
    outputs: list[LayerOutput] = []
    nodes: list[Recorded] = []
    watched = _watched(exact.module)
    containers = {name.rpartition(".")[0] for name, _ in watched}
    handles = [
        module.register_forward_hook(_keeper(name, outputs, nodes, name in containers))
        for name, module in watched
    ]
    tensors = _tensors(deployable.inputs, case.inputs, torch.float64)
    with float64_by_default(), torch.set_grad_enabled(recorded):
        # Times one: networks may write into their inputs, and not into what gradients start from.
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
    answers = [tensor.grad_fn for tensor in given]
    *found, answered = ancestors(nodes, answers)
    projected = are_only_projected(nodes, answers)
    return [
        replace(
            output,
            ancestors=behind,
            is_answered=place in answered,
            # The weights of other normalisations stay where they are.
            otherwise=() if output.is_norm and not is_projected else output.otherwise,
        )
        for place, (output, behind, is_projected) in enumerate(
            zip(outputs, found, projected, strict=True)
        )
    ]


def _watched(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers whose outputs a written file holds somewhere."""
    # The innermost: what a candidate may be instead holds layers that files have as they are.
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


def _keeper(  # type: ignore[no-untyped-def]
    name: str, outputs: list[LayerOutput], nodes: list[Recorded], is_container: bool
):
    """A hook that keeps the tensors that a layer reads and answers, and what computed them.

    Args:
        name: of the layer.
        outputs: of all layers so far.
        nodes: what computed each of them.
        is_container: whether the layer is made of others that are watched.
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
    """The place of the layer that a layer reads, or what it reads; containers run last."""
    if given is None or not given.is_floating_point():
        return None, None
    places = [place for place, node in enumerate(nodes) if node is not None]
    source = next((place for place in reversed(places) if nodes[place] is given.grad_fn), None)
    return (source, None) if source is not None else (None, given.detach().numpy().copy())


def _is_of_cells(given: Tensor | None, outputs: Sequence[LayerOutput]) -> bool:
    """Whether a normalisation reads the positions of a cell as channels.

    Their order in a file may be another one.
    """
    before = outputs[-1].value if outputs else None
    return (
        before is not None
        and given is not None
        and before.size == given.numel()
        and before.shape[-1] < given.shape[-1]
        and before.ndim == given.ndim
    )


def _rewritten(module: nn.Module, given: Tensor | None, answer: Tensor) -> tuple[Tensor, ...]:
    """What a file may hold instead of the output of a layer, after the passes."""
    if isinstance(module, nn.LayerNorm) and given is not None:
        # The projection behind it has its weights; it may add 1 (absorbed_biases).
        plain = functional.layer_norm(given, module.normalized_shape, eps=module.eps)
        return plain, plain + 1
    if isinstance(module, nn.Conv2d) and answer.dim() == 4:
        # The weights may already subtract the mean over the channels (channels_first).
        return (answer - answer.mean(dim=1, keepdim=True),)
    if isinstance(module, nn.Linear):
        return (answer - answer.mean(dim=-1, keepdim=True),)
    return ()
